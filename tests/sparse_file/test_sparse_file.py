"""`load_sparse` restores what `save_sparse` saved, on any backend."""

import zipfile

import keras
import ml_dtypes
import numpy as np
import pytest

from keras_sac import ConstantSparsity, InvalidFileError, PruningOptimizer, load_sparse, save_sparse
from keras_sac.sparse_file._saved_config import plain_config
from tests.children import python
from tests.sparse_file.sparse_models import (
    MODELS,
    dense,
    half,
    nested,
    normalized,
    numbers,
    pruned,
    sac,
)

layers = keras.layers


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_model_comes_back(make, rng, tmp_path):
    model, x = pruned(make, rng)
    path = save_sparse(model, tmp_path / "model.sparse")
    assert path == tmp_path / "model.sparse"
    assert [each.name for each in tmp_path.iterdir()] == ["model.sparse"]
    loaded = load_sparse(path)
    assert [type(each) for each in loaded.layers] == [type(each) for each in model.layers]
    for before, after in zip(numbers(model), numbers(loaded), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
    # Training goes on.
    loaded.compile("sgd", "mse")
    loaded.fit(x, np.zeros((5, *model.output_shape[1:])), verbose=0)


def test_vocabularies_and_states_without_a_variable_come_back(rng, tmp_path):
    model, _ = pruned(normalized, rng)
    model.layers[1].counts[:] = 3, 2**40
    loaded = load_sparse(save_sparse(model, tmp_path / "m"))
    assert loaded.layers[1].words == ("plain", "naïve", "zwölf")
    assert loaded.layers[1].counts.tolist() == [3, 2**40]


def test_string_lookup_comes_back(tmp_path):
    lookup = layers.StringLookup(output_mode="multi_hot")
    lookup.adapt(np.array([["red"], ["green"], ["blue"]]))
    model = keras.Sequential([keras.Input((1,), dtype="string"), lookup, layers.Dense(2)])
    loaded = load_sparse(save_sparse(model, tmp_path / "m"))
    assert loaded.layers[0].get_vocabulary() == lookup.get_vocabulary()
    for mine, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    if keras.backend.backend() == "tensorflow":
        # The others have no tensors of strings.
        words = keras.ops.convert_to_tensor([["green"], ["violet"]])
        np.testing.assert_array_equal(model(words), loaded(words))


def test_the_file_is_that_of_the_plain_model(rng, tmp_path):
    plain, x = pruned(dense, rng)
    path = save_sparse(plain, tmp_path / "plain")
    weights = plain.get_weights()
    plain.compile(PruningOptimizer("adam", ConstantSparsity(0.8, 1)), "mse", metrics=["mae"])
    plain.fit(x, np.zeros((5, 4)), verbose=0)
    plain.set_weights(weights)
    again = save_sparse(plain, tmp_path / "compiled")
    assert again.read_bytes() == path.read_bytes()
    assert not load_sparse(again).compiled


def test_the_optimizers_of_models_inside_stay_behind(rng, tmp_path):
    model, _ = pruned(nested, rng)
    model.compile("sgd", "mse")
    path = save_sparse(model, tmp_path / "m")
    with zipfile.ZipFile(path) as archive:
        assert b"optimizer" not in archive.read("header.json")
        assert b"compile_config" not in archive.read("config.json")
    inner = next(each for each in load_sparse(path).layers if isinstance(each, keras.Model))
    assert not inner.compiled
    assert model.compiled


def test_the_same_model_is_the_same_file(rng, tmp_path):
    files = []
    for name in ("a", "b"):
        keras.utils.clear_session()
        keras.utils.set_random_seed(5)
        model = sac()
        files += [save_sparse(model, tmp_path / f"{name}{n}").read_bytes() for n in range(2)]
    assert len(set(files)) == 1


def test_any_zip_program_can_look_inside(rng, tmp_path):
    model, _ = pruned(normalized, rng)
    with zipfile.ZipFile(save_sparse(model, tmp_path / "m")) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    asset = "assets/layers/words/words.txt"
    assert names == ["weights.zst", "header.json", "config.json", "metadata.json", asset]


def test_float16_values(rng, tmp_path):
    model, x = pruned(sac, rng)
    whole = save_sparse(model, tmp_path / "whole").stat().st_size
    path = save_sparse(model, tmp_path / "half", values="float16")
    assert path.stat().st_size < 0.75 * whole
    loaded = load_sparse(path)
    for before, after in zip(numbers(model), numbers(loaded), strict=True):
        assert after.dtype == np.float32
        np.testing.assert_array_equal(before.astype("float16"), after)
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=0.02, atol=0.02
    )


def test_a_weight_that_is_not_a_float16(tmp_path):
    model = dense()
    model.layers[0].bias.assign(np.full(30, 1e6))
    with pytest.raises(ValueError, match=r"layers/dense/vars/1.*30 of 30.*1e\+06.*values=None"):
        save_sparse(model, tmp_path / "m", values="float16")
    assert list(tmp_path.iterdir()) == []
    assert load_sparse(save_sparse(model, tmp_path / "m")).layers[0].bias[0] == 1e6


def test_bfloat16_without_its_zeros(rng, tmp_path):
    model, _ = pruned(half, rng)
    kernel = np.zeros((40, 30), ml_dtypes.bfloat16)
    kernel[0] = -0.0
    kernel[1, :3] = 1.5, np.nan, -np.inf
    model.layers[0].kernel.assign(kernel)
    path = save_sparse(model, tmp_path / "m")
    with zipfile.ZipFile(path) as archive:
        assert b'"dtype":"bfloat16","coding":"gaps","values":3' in (
            archive.read("header.json").replace(b'"stored":"bfloat16",', b"")
        )
    loaded = np.asarray(numbers(load_sparse(path))[0])
    np.testing.assert_array_equal(loaded.astype("float32"), kernel.astype("float32"))


def test_custom_objects_and_safe_mode_are_keras(tmp_path):
    class Twice(layers.Layer):
        def call(self, x):
            return 2 * x

    model = keras.Sequential([keras.Input((3,)), Twice()])
    path = save_sparse(model, tmp_path / "m")
    with pytest.raises(InvalidFileError, match="custom_objects.*Could not locate class 'Twice'"):
        load_sparse(path)
    assert isinstance(load_sparse(path, custom_objects={"Twice": Twice}).layers[0], Twice)
    model = keras.Sequential([keras.Input((3,)), layers.Lambda(lambda x: 2 * x)])
    path = save_sparse(model, tmp_path / "m", overwrite=True)
    with pytest.raises(ValueError, match="safe_mode"):
        load_sparse(path)
    assert load_sparse(path, safe_mode=False)(np.ones((1, 3)))[0, 0] == 2


def test_configurations_lose_only_what_training_needs():
    config = {
        "class_name": "Model",
        "config": {"compile_config": 1, "layers": [{"class_name": "A", "config": {}}]},
        "shared_object_id": 140199074195472,
        "compile_config": {"optimizer": {"class_name": "Adam", "config": {"name": "adam_3"}}},
        "inner": {"class_name": "B", "config": {}, "compile_config": {"optimizer": "sgd"}},
        "third": {"class_name": "B", "config": {}, "compile_config": None, "shared_object_id": 7},
        "fourth": {"class_name": "B", "config": {}, "compile_config": {"loss": "mse"}},
        "same": {"class_name": "B", "config": {}, "shared_object_id": 140199074195472},
    }
    assert plain_config(config) == (
        {
            "class_name": "Model",
            "config": {"compile_config": 1, "layers": [{"class_name": "A", "config": {}}]},
            "shared_object_id": 0,
            "inner": {"class_name": "B", "config": {}},
            "third": {"class_name": "B", "config": {}, "shared_object_id": 1},
            "fourth": {"class_name": "B", "config": {}},
            "same": {"class_name": "B", "config": {}, "shared_object_id": 0},
        },
        {"adam_3", "sgd"},
    )


CHILD = """
import sys
import numpy as np
import keras
import keras_sac
from keras_sac import load_sparse, save_sparse
import tests.sparse_file.sparse_models
folder = sys.argv[1]
backend = keras.backend.backend()
for name in ("sac", "normalized", "half"):
    model = load_sparse(f"{folder}/{name}.sparse")
    x = np.load(f"{folder}/{name}.npy")
    np.save(f"{folder}/{name}-{backend}.npy", model.predict(x, verbose=0))
    save_sparse(model, f"{folder}/{name}-{backend}.sparse")
"""


@pytest.mark.slow
@pytest.mark.parametrize("other", ["tensorflow", "torch", "jax"])
def test_saved_here_loaded_there_and_back(rng, tmp_path, other):
    models = {}
    for make in (sac, normalized, half):
        model, x = pruned(make, rng)
        save_sparse(model, tmp_path / f"{make.__name__}.sparse")
        np.save(tmp_path / f"{make.__name__}.npy", x)
        models[make.__name__] = model, x
    python("-c", CHILD, tmp_path, KERAS_BACKEND=other)
    for name, (model, x) in models.items():
        outputs = np.load(tmp_path / f"{name}-{other}.npy")
        tolerance = 0.05 if name == "half" else 1e-4
        expected = model.predict(x, verbose=0)
        np.testing.assert_allclose(outputs, expected, rtol=tolerance, atol=tolerance)
        back = load_sparse(tmp_path / f"{name}-{other}.sparse")
        for before, after in zip(numbers(model), numbers(back), strict=True):
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(before, after)
