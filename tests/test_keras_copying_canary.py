"""What copies of layers take for granted about Keras; the list is in `test_keras_canary.py`."""

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()
L = keras.layers


def test_a_tracker_has_named_stores_and_a_lock():
    layer = L.Dense(3)
    layer.build((None, 4))
    stores = {name: found for name, (_, found) in layer._tracker.config.items()}
    assert [id(v) for v in stores["trainable_variables"]] == [id(layer.kernel), id(layer.bias)]
    assert stores["layers"] == []
    assert layer._tracker.locked
    assert "state" in layer._tracker._lock_violation_msg
    fresh = L.Dense(3)
    fresh._tracker.add_to_store("trainable_variables", layer.kernel)
    assert fresh.trainable_variables == [layer.kernel]


def test_a_layer_is_made_without_its_own_constructor():
    class Own(L.Layer):
        def __init__(self, units):
            super().__init__()

    new = Own.__new__(Own)
    L.Layer.__init__(new, name="own", dtype="float16")
    assert new.name == "own"
    assert new.dtype_policy.name == "float16"
    assert isinstance(new._call_context_args, set)
    assert isinstance(new._call_has_context_arg, dict)
    assert callable(vars(new)["build"])


def test_what_training_leaves_on_a_model():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model.compile("sgd", "mse")
    new = set(vars(model))
    model.fit(np.ones((4, 4)), np.ones((4, 2)), validation_split=0.5, verbose=0)
    model.evaluate(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    model.predict(np.ones((4, 4)), verbose=0)
    of_training = {
        *("_eval_epoch_iterator", "_jax_state", "history"),
        *("stop_training", "stop_predicting", "stop_evaluating"),
    }
    added = {name for name in set(vars(model)) - new if not name.startswith("_self_")}
    assert added <= of_training
    assert {"_compile_config", "_compiled_trainable_state", "optimizer"} <= new


def test_a_variable_knows_whether_it_is_autocast():
    assert keras.Variable(np.ones(2), autocast=False)._autocast is False
    with keras.name_scope("a"), keras.name_scope("b"):
        assert keras.Variable(np.ones(2), name="c").path == "a/b/c"


@pytest.mark.skipif(BACKEND != "torch", reason="torch registers layers and buffers by itself")
def test_torch_keeps_inner_layers_apart_from_the_other_attributes():
    model = keras.layers.TimeDistributed(L.Dense(2))
    model.build((None, 3, 4))
    assert "layer" in model._modules
    assert "layer" not in vars(model)
    assert model._buffers == {}
    assert "_torch_params" in model._modules


def test_a_functional_model_runs_on_anything():
    i = keras.Input((3,))
    layer = L.Dense(2)
    model = keras.Model(i, [keras.ops.relu(layer(i)), layer(i)])
    seen = []

    def operation(each):
        seen.append(each)
        return lambda *args: f"{each.name}({args[0]})"

    made = model._run_through_graph(["x"], operation_fn=operation)
    assert seen.count(layer) == 2
    assert made == [f"{seen[-1].name}({layer.name}(x))", f"{layer.name}(x)"]
