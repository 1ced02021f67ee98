"""Code written for tfmot has the same results after its import line is changed."""

import json
import pathlib

import keras
import numpy as np
import pytest

import keras_sac.tfmot as tfmot
from tests.children import python
from tests.tfmot.gradients import gradients
from tests.tfmot.scripts import COMMON, SCRIPTS

CHILD = pathlib.Path(__file__).with_name("tfmot_child.py")
NAMES = {
    "ConstantSparsity",
    "PolynomialDecay",
    "PrunableLayer",
    "PruneForLatencyOnXNNPack",
    "PruningPolicy",
    "PruningSchedule",
    "PruningSummaries",
    "UpdatePruningStep",
    "prune_low_magnitude",
    "prune_scope",
    "strip_pruning",
}


@keras.saving.register_keras_serializable(package="tests.tfmot")
class Given(keras.initializers.Initializer):
    """Weights that were drawn before, by their name in `arrays()`."""

    def __init__(self, name):
        self.name = name

    def __call__(self, shape, dtype=None):
        return keras.ops.convert_to_tensor(arrays()[self.name], dtype)

    def get_config(self):
        return {"name": self.name}


def arrays():
    rng = np.random.default_rng(3)
    shapes = {"first": (12, 16), "last": (16, 8), "middle": (16, 12), "end": (12, 8), "bias": (16,)}
    weights = {name: rng.normal(0, 0.3, shape).astype("float32") for name, shape in shapes.items()}
    x = rng.normal(size=(64, 12)).astype("float32")
    return {"x": x, "y": np.argmax(x[:, :8], axis=1).astype("int32"), **weights}


@pytest.fixture(scope="module")
def of_tfmot(tmp_path_factory):
    """Results of the scripts under tfmot, by name."""
    folder = tmp_path_factory.mktemp("tfmot")
    np.savez(folder / "in.npz", **arrays())
    scripts = {name: COMMON + script for name, script in SCRIPTS.items()}
    (folder / "scripts.json").write_text(json.dumps(scripts))
    python(CHILD, folder, KERAS_BACKEND=None, TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3")
    results = {}
    for name in SCRIPTS:
        with np.load(folder / f"{name}.npz") as found:
            results[name] = [found[key] for key in found.files]
    return results


def run(name, log_dir):
    given = arrays()
    namespace = {
        "__name__": "__main__",
        "tfmot": tfmot,
        "keras": keras,
        "np": np,
        "x": given["x"],
        "y": given["y"],
        "given": Given,
        "gradients": gradients,
        "log_dir": str(log_dir),
    }
    exec(compile(COMMON + SCRIPTS[name], name, "exec"), namespace)
    return namespace["result"]


@pytest.mark.parametrize("name", ["whole-model", "some-layers", "custom-loop"])
def test_a_script_runs(name, tmp_path):
    result = run(name, tmp_path)
    # 192 (1 - 0.8) = 38.4 weights of the first kernel stay.
    assert np.count_nonzero(result[0]) == 38


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_gives_what_tfmot_gives(name, of_tfmot, tmp_path):
    result, expected = run(name, tmp_path), of_tfmot[name]
    assert len(result) == len(expected)
    pruned = 0
    for ours, theirs in zip(result, expected, strict=True):
        np.testing.assert_array_equal(ours == 0, theirs == 0)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
        pruned += np.count_nonzero(ours == 0)
    assert pruned > (50 if name != "xnnpack" else 10)


def test_the_public_names_are_those_of_tfmot():
    assert set(tfmot.sparsity.keras.__all__) == NAMES
    assert all(hasattr(tfmot.sparsity.keras, name) for name in NAMES)


def test_other_forms_of_the_import_line():
    from keras_sac.tfmot.sparsity import keras as sparsity
    from keras_sac.tfmot.sparsity.keras import prune_low_magnitude

    assert sparsity is tfmot.sparsity.keras
    assert sparsity.prune_low_magnitude is prune_low_magnitude


def test_what_is_not_there_says_what_is():
    with pytest.raises(
        AttributeError, match=r"only the part `tfmot.sparsity.keras`.*'quantization'"
    ):
        _ = tfmot.quantization
