"""Every private or undocumented thing of Keras that keras_sac touches, with one test each.

Those of copies are tested in `test_keras_copying_canary.py`.
A Keras release that takes one away, or changes what it means, fails here first, with the name of
the file that has to change. The scan at the end keeps the list complete.
"""

import ast
import json
import pathlib
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_sac
from keras_sac.pruning._end_of_training import callbacks_of_fit

PACKAGE = pathlib.Path(keras_sac.__file__).parent
BACKEND = keras.backend.backend()
L = keras.layers

# Private name -> the files that use it.
PRIVATE = {
    "_flatten_layers": {"_walk.py"},
    "_losses": {"_calls.py"},
    "_loss_ids": {"_calls.py"},
    "_is_default": {"_calls.py"},
    "_value": {"_backend.py"},
    "_handle_name": {"_tensorflow_writers.py"},
    "_layout": {"_pruning_optimizer.py"},
    "_keras_mask": {"_graph_cut.py"},
    "_variables": {"_optimizer.py"},
    "_trainable_variables": {"_optimizer.py", "_pruning_optimizer.py", "_proximal_l1.py"},
    "_iterations": {"_optimizer.py", "_pruning_optimizer.py"},
    "_trainable_variables_indices": {"_optimizer.py"},
    "_get_variable_index": {"_pruning_optimizer.py"},
    "_var_key": {"_optimizer.py", "_proximal_l1.py"},
    "_version": {"_backend.py"},
    "_model_variables_moving_average": {"_optimizer.py"},
    "_exclude_from_weight_decay": {"_optimizer_state.py"},
    "_exclude_from_weight_decay_pattern": {"_optimizer_state.py"},
    "_trainable": {"_subspace_layer.py"},
    "_build_at_init": {"_head_layers.py"},
    "_kernel_regularizer": {"_kernel_l1.py"},
    "_input_shape_arg": {"_keras_patches.py"},
    "_run_through_graph": {"_graphs.py"},
    "_tracker": {"_copying.py"},
    "_autocast": {"_copying.py"},
    "_call_context_args": {"_copying.py"},
    "_call_has_context_arg": {"_copying.py"},
    "_compile_config": {"_copying.py", "_compiling.py"},
    "_compiled_trainable_state": {"_copying.py"},
    "_eval_epoch_iterator": {"_copying.py"},
    "_jax_state": {"_copying.py"},
    "_modules": {"_backend.py"},
    "_buffers": {"_backend.py"},
    "_torch_params": {"_backend.py"},
}


def mlp():
    return keras.Sequential([keras.Input((4,)), L.Dense(3, name="a"), L.Dense(2, name="b")])


def trained(optimizer="sgd", **kwargs):
    model = mlp()
    model.compile(optimizer, "mse", **kwargs)
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    return model


def test_flatten_layers_gives_outer_layers_first_and_the_inside_of_composite_layers():
    layer = L.Bidirectional(L.LSTM(2))
    layer.build((None, 3, 4))
    found = layer._flatten_layers()
    assert found[0] is layer
    assert {"LSTM", "LSTMCell"} <= {type(each).__name__ for each in found}
    assert layer._flatten_layers(include_self=False, recursive=False) == [
        layer.forward_layer,
        layer.backward_layer,
    ]


def test_losses_of_a_call_are_in_two_attributes():
    attributes = vars(L.Dense(2, activity_regularizer="l2"))
    assert list(attributes["_losses"]) == []
    assert attributes["_loss_ids"] == set()


def test_the_default_build_is_marked():
    assert L.ReLU().build._is_default
    assert not getattr(L.Dense(2).build, "_is_default", False)


def test_the_value_of_a_variable_outside_of_any_scope():
    variable = keras.Variable(np.ones(3, "float32"))
    assert keras.ops.convert_to_numpy(variable._value).tolist() == [1, 1, 1]
    with keras.StatelessScope([(variable, keras.ops.zeros(3))]):
        assert keras.ops.convert_to_numpy(variable._value).tolist() == [1, 1, 1]
    if BACKEND == "torch":
        assert keras.ops.convert_to_tensor(variable) is variable._value


def test_the_name_of_a_variable_in_a_graph_of_tensorflow():
    value = keras.Variable(np.ones(3, "float32"), name="some name").value
    assert hasattr(value, "_handle_name") == (BACKEND == "tensorflow")
    if BACKEND == "tensorflow":
        value._handle_name = "other:0"
        assert value.name == "other:0"


def test_add_variable_of_an_optimizer_takes_a_layout():
    optimizer = keras.optimizers.SGD()
    model = mlp()
    optimizer.build(model.trainable_variables)
    reference = model.trainable_variables[0]
    made = optimizer.add_variable(
        shape=reference.shape, name="x", layout=getattr(reference, "_layout", None)
    )
    assert made.shape == reference.shape


def test_a_symbolic_tensor_has_its_mask():
    inputs = keras.Input((3,), dtype="int32")
    assert getattr(L.Embedding(5, 2, mask_zero=True)(inputs), "_keras_mask", None) is not None
    assert getattr(L.Embedding(5, 2)(inputs), "_keras_mask", None) is None


def test_what_an_optimizer_knows_of_its_variables():
    model = mlp()
    optimizer = keras.optimizers.SGD(use_ema=True)
    optimizer.build(model.trainable_variables)
    variables = model.trainable_variables
    assert [id(v) for v in optimizer._trainable_variables] == [id(v) for v in variables]
    assert optimizer._variables[0] is optimizer._iterations
    assert optimizer._get_variable_index(variables[2]) == 2
    assert optimizer._var_key(variables[1]) != optimizer._var_key(variables[2])
    keys = [optimizer._var_key(v) for v in variables]
    assert list(optimizer._trainable_variables_indices) == keys
    averages = optimizer._model_variables_moving_average
    assert [tuple(v.shape) for v in averages] == [tuple(v.shape) for v in variables]


def test_slots_are_named_after_their_variables():
    model = mlp()
    optimizer = keras.optimizers.SGD(momentum=0.9, use_ema=True)
    optimizer.build(model.trainable_variables)
    names = {v.name for v in optimizer.variables}
    for variable in model.trainable_variables:
        path = variable.path.replace("/", "_")
        assert {f"{path}_momentum", f"{path}_average"} <= names


def test_exclusions_from_weight_decay():
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    assert optimizer._exclude_from_weight_decay_pattern.pattern == "bias"
    optimizer.build(mlp().trainable_variables)
    assert hasattr(optimizer, "_exclude_from_weight_decay")


def test_loss_scaling_in_mixed_precision():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=8.0)
    optimizer.build(mlp().trainable_variables)
    assert float(keras.ops.convert_to_numpy(optimizer.dynamic_scale)) == 8.0
    assert optimizer.initial_scale == 8.0
    assert isinstance(optimizer.inner_optimizer, keras.optimizers.SGD)


def test_trainable_of_a_layer_is_a_property_that_can_be_extended():
    layer = L.Dense(2)
    keras.layers.Layer.trainable.fset(layer, False)
    assert layer._trainable is False


def test_a_layer_without_weights_is_built_when_it_is_made():
    class Plain(L.Layer):
        def __init__(self):
            super().__init__()
            self._build_at_init()

    assert Plain().built


def test_attention_keeps_the_regularizer_of_its_projections():
    layer = L.MultiHeadAttention(2, 3, kernel_regularizer="l2")
    assert isinstance(layer._kernel_regularizer, keras.regularizers.L2)


def test_sequential_reads_the_input_shape_of_its_first_layer():
    layer = L.Dense(2)
    layer._input_shape_arg = (5,)
    assert keras.Sequential([layer]).input_shape == (None, 5)


def test_activations_are_found_in_one_table():
    table = keras.activations.get.__globals__["ALL_OBJECTS_DICT"]
    assert table["relu"] is keras.activations.relu
    assert table["sparsemax"] is keras.activations.sparsemax


def test_the_graph_of_a_model_in_its_configuration():
    inputs = keras.Input((4,), name="in")
    model = keras.Model(inputs, L.Dense(2, name="out")(inputs))
    config = model.get_config()
    node = config["layers"][1]["inbound_nodes"][0]
    assert node["args"][0]["class_name"] == "__keras_tensor__"
    assert node["args"][0]["config"]["keras_history"][0] == "in"
    assert "out" in json.dumps(config["output_layers"])


def test_operators_in_a_graph_are_operations_with_class_names():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.relu(inputs + inputs) * inputs)
    assert {"Add", "Multiply"} <= {type(each).__name__ for each in model.operations}


def test_a_saved_model_has_three_members_and_the_optimizer_apart(tmp_path):
    model = trained()
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert {"config.json", "metadata.json", "model.weights.h5"} <= set(archive.namelist())
        assert "compile_config" in json.loads(archive.read("config.json"))
        archive.extract("model.weights.h5", tmp_path)
    with h5py.File(tmp_path / "model.weights.h5") as file:
        assert "optimizer/vars" in file
        assert file["optimizer/vars"].attrs["name"] == model.optimizer.name


def test_a_step_is_made_anew_by_force():
    model = trained()
    before = model.train_function
    model.make_train_function(force=True)
    assert model.train_function is not None
    assert model.train_function is not before
    model.train_function = None
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)


def test_fit_has_its_callbacks_in_a_local_variable_when_it_finalizes():
    found = []

    class Watching(keras.optimizers.SGD):
        def finalize_variable_values(self, var_list):
            found.append(callbacks_of_fit())

    class Last(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            found.append("end")

    last = Last()
    model = mlp()
    model.compile(Watching(), "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0, callbacks=[last])
    assert last in found[0].callbacks
    # What is appended then is still called.
    assert found[1:] == ["end"]
    assert callbacks_of_fit() is None


@pytest.mark.skipif(BACKEND != "torch", reason="a number of torch's tensors")
def test_each_assignment_raises_the_version_of_a_tensor():
    variable = keras.Variable(3, dtype="int", trainable=False)
    before = variable.value._version
    variable.assign_add(1)
    middle = variable.value._version
    variable.assign(9)
    assert before < middle < variable.value._version
    assert int(variable.value) == 9


@pytest.mark.skipif(BACKEND != "jax", reason="`fit` holds the state outside of the model on JAX")
def test_fit_takes_the_values_out_of_model_and_optimizer():
    seen = []

    class Watching(keras.optimizers.SGD):
        def stateless_apply(self, *arguments):
            seen.extend(v._value for v in [*self.variables, *self._trainable_variables])
            return super().stateless_apply(*arguments)

    trained(Watching())
    assert seen == [None] * len(seen)
    assert len(seen) == 6


@pytest.mark.skipif(BACKEND != "jax", reason="`fit` holds the state outside of the model on JAX")
def test_the_state_of_a_fit_comes_back_to_the_model():
    class Sync(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.jax_state_sync()
            self.weights = self.model.get_weights()

    model, sync = mlp(), Sync()
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0, callbacks=[sync])
    np.testing.assert_array_equal(sync.weights[0], model.get_weights()[0])


def test_a_quantized_layer_is_called_by_another_method():
    layer = L.Dense(8)
    layer.build((None, 8))
    assert layer.quantization_mode is None
    layer.quantize("int8")
    assert layer.quantization_mode == "int8"
    assert callable(layer.quantized_call)
    assert tuple(layer.kernel.shape) == (8, 8)


def test_low_rank_adapters_are_told_by_an_attribute():
    layer = L.Dense(8)
    layer.build((None, 8))
    assert not layer.lora_enabled
    layer.enable_lora(2)
    assert layer.lora_enabled


def test_normalization_reads_its_weights_when_its_state_is_final():
    assert callable(L.Normalization().finalize_state)


def test_every_weight_is_made_by_the_constructor_of_variable(monkeypatch):
    shapes, make = [], keras.Variable.__init__

    def noted(self, initializer, shape=None, *args, **options):
        shapes.append(shape)
        make(self, initializer, shape, *args, **options)

    monkeypatch.setattr(keras.Variable, "__init__", noted)
    L.Dense(3).build((None, 4))
    L.SeparableConv2D(5, 2).build((None, 8, 8, 3))
    L.Dropout(0.5)
    assert {(4, 3), (3,), (2, 2, 3, 1), (1, 1, 3, 5), (5,), (2,)} <= {*map(tuple, shapes)}


def own_names(trees):
    """The names that keras_sac itself defines or assigns."""
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    for each in ast.walk(target):
                        if isinstance(each, ast.Name):
                            yield each.id
                        elif isinstance(each, ast.Attribute) and ast.unparse(each.value) == "self":
                            yield each.attr


def private_names(tree):
    """Private names that a file reads as attributes, or names in text."""
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value if node.value.isidentifier() else ""
        if name.startswith("_") and not name.startswith("__") and len(name) > 1:
            yield name


@pytest.mark.backend_free
def test_the_list_is_complete():
    trees = {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
    own = set(own_names(trees.values()))
    found: dict[str, set[str]] = {}
    for path, tree in trees.items():
        for name in set(private_names(tree)):
            if name in PRIVATE or (name not in own and hasattr_anywhere(name)):
                found.setdefault(name, set()).add(path.name)
    assert found == PRIVATE


def hasattr_anywhere(name):
    """Whether a layer, a model, an optimizer, a variable or a tensor of Keras has the name."""
    model, i = trained(), keras.Input((1,))
    objects = (
        model,
        model.layers[0],
        model.optimizer,
        model.weights[0],
        model.inputs[0],
        L.MultiHeadAttention(2, 3),
        keras.Model(i, i),
    )
    return any(hasattr(each, name) for each in objects)
