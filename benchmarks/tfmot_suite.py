"""Run the tests of tfmot's pruning API on `keras_sac.tfmot`, or on tfmot itself.

python benchmarks/tfmot_suite.py CORE [--on tfmot]

`CORE` is the folder `tensorflow_model_optimization/python/core` of a checkout of
https://github.com/tensorflow/model-optimization. Nothing of it is part of this repository. The
files that test the public names are read, rewritten by `RENAMED`, and run with stand-ins for the
internal modules that they import. Tests that fail on tfmot 0.8.1 itself (`--on tfmot`) say nothing
about keras_sac.
"""

import argparse
import glob
import importlib
import importlib.metadata
import json
import os
import pathlib
import re
import sys
import types
import unittest
from typing import Any

FILES = ["prune", "prune_integration", "pruning_callbacks", "pruning_policy", "pruning_schedule"]
FILES += ["prune_distributed"]
CORE = "tensorflow_model_optimization.python.core"
SPARSITY = f"{CORE}.sparsity.keras"

# Older versions of the tests, as tfmot 0.8.1 with tf_keras 2.21 passes them. The texts of errors
# are not compared.
OLDER = [
    (r"'sparsity_2x4': True", "'sparsity_m_by_n': (2, 4)"),
    (r"\[16, \(5, 7\)\], \(8, 8, 1\)", "[16, (5, 7)], (8, 8, 4)"),
    (r"assertEqual\(\s*2, (tf\S+ayers\[\d\]\.pruning_step)", r"assertEqual(3, \1"),
    (r"log_callback\.on_epoch_end\(batch=", "log_callback.on_epoch_end(epoch="),
    (r"tf\.keras\.experimental\.PeepholeLSTMCell\(10\),", ""),
    (r"self\.assertEqual\(\s*str\(e\.exception\)", "suite.ignored(self"),
]
# What Keras 3 calls it, and what is a wrapper in tfmot and a mark here.
RENAMED = [
    *OLDER,
    (r"(model\.(in|out)put)\.get_shape\(\)\.as_list\(\)", r"list(\1s[0].shape)"),
    (r"if model\.optimizer is None", "if getattr(model, 'optimizer', None) is None"),
    (r"(?<!Global)AveragePooling2D\(\)", "AveragePooling2D(2)"),
    (r"(weights|latest) = tempfile.mkstemp\('\.\w+'\)", r"\1 = tempfile.mkstemp('.weights.h5')"),
    (r"\{epoch:02d\}\.tf", "{epoch:02d}.weights.h5"),
    (r"tf\.train\.latest_checkpoint\(", "suite.latest("),
    (r"tf\.identity\(", "keras.layers.Identity()("),
    (r"keras\.models\.model_from_config\(", "suite.from_config("),
    (r"tf\.keras\.backend\.(batch_)?get_value\(", "suite.values("),
    (r"(\w+)\.layer\.get_prunable_weights\(\)", r"suite.pruned(\1)"),
    (r"\bwrapped_layer\.layer\b", "wrapped_layer"),
    (r"\bwrapped_layer\.(pruning_schedule|block_\w+)", r"suite.argument(wrapped_layer, '\1')"),
    (r"pruned_model\.layers\[\d\]\.pruning_step", "suite.Step(pruned_model)"),
    (r"\bmodel\.submodules\b", "model._flatten_layers()"),
]


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("core", type=pathlib.Path)
    parser.add_argument("--on", choices=["keras_sac", "tfmot"], default="keras_sac")
    parser.add_argument("--json", type=pathlib.Path, help="file for the outcome of each test")
    parser.add_argument("-k", default="", help="run only tests with this text in their name")
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["TF_USE_LEGACY_KERAS"] = "1" if options.on == "tfmot" else "0"
    _without_modes()
    if options.on == "keras_sac":
        _stand_ins()
    rules = OLDER if options.on == "tfmot" else RENAMED
    _load(options.core / "keras/test_utils.py", f"{CORE}.keras.test_utils", rules)
    folder = options.core / "sparsity/keras"
    _load(folder / "test_utils.py", f"{SPARSITY}.test_utils", rules)
    outcomes = {}
    for file in FILES:
        tests = _load(folder / f"{file}_test.py", f"{file}_test", rules)
        for case in _cases(unittest.defaultTestLoader.loadTestsFromModule(tests)):
            name = case.id().split(" ")[0].rsplit(".", 1)[1]
            if options.k not in name or name == "test_session":
                continue
            outcomes[f"{file}: {name}"] = outcome = _outcome(case)
            print(f"{'ok' if outcome is None else 'FAILED':6} {file}: {name}  {outcome or ''}")
    passed = sum(outcome is None for outcome in outcomes.values())
    print(f"{passed} of {len(outcomes)} tests of tfmot pass on {options.on}")
    if options.json:
        packages = ["keras", "tf_keras", "tensorflow", "tensorflow-model-optimization"]
        versions = {each: importlib.metadata.version(each) for each in packages}
        result = {"on": options.on, "versions": versions, "tests": outcomes}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def _cases(suite):
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from _cases(each)
        else:
            yield each


def _outcome(case):
    """Run a test; return `None` if it passes, else the last line of its error."""
    result = unittest.TestResult()
    case.run(result)
    problems = result.failures + result.errors
    return problems[0][1].strip().splitlines()[-1][:160] if problems else None


def _load(path, name, rules):
    text = path.read_text()
    for pattern, new in rules:
        text = re.sub(pattern, new, text)
    module = _module(name)
    module.suite = sys.modules[__name__]
    exec(compile(text, str(path), "exec"), vars(module))
    return module


def _module(name, **attributes):
    """Create a module that `import` finds, also as an attribute of its package."""
    module = types.ModuleType(name)
    vars(module).update(attributes)
    sys.modules[name] = module
    package, _, last = name.rpartition(".")
    if package and package not in sys.modules:
        try:
            importlib.import_module(package)
        except ImportError:
            _module(package, __path__=[])
    if package:
        setattr(sys.modules[package], last, module)
    return module


def _without_modes():
    """Replace the decorator that repeats tests with graphs of TensorFlow 1."""

    def run_all_keras_modes(test=None, **_):
        return test if test is not None else lambda test: test

    _module("tensorflow.python.keras.keras_parameterized", run_all_keras_modes=run_all_keras_modes)


def _stand_ins():
    """Replace the internal modules of tfmot that the tests import."""
    import keras

    from keras_sac.tfmot._marks import mark_of
    from keras_sac.tfmot.sparsity import keras as public

    class IsMarked(type):
        def __instancecheck__(cls, layer):
            others = keras.Model | keras.layers.InputLayer
            return not isinstance(layer, others) and mark_of(layer) is not None

    class Registry:
        _LAYERS_WEIGHTS_MAP = {
            getattr(keras.layers, name): ["kernel"]
            for name in ("Conv1D", "Conv2D", "Conv3D", "SeparableConv1D", "SeparableConv2D")
        } | {keras.layers.Dense: ["kernel"], keras.layers.Embedding: ["embeddings"]}
        _RNN_LAYERS = frozenset(
            getattr(keras.layers, name) for name in ("GRU", "LSTM", "RNN", "SimpleRNN")
        )

    for package in (SPARSITY.split(".", 1)[0], f"{CORE.rsplit('.', 1)[0]}", CORE, SPARSITY):
        _module(package, __path__=[])
    for name in ("prune", "pruning_callbacks", "pruning_policy", "pruning_schedule"):
        _module(f"{SPARSITY}.{name}", **{each: getattr(public, each) for each in public.__all__})
    _module(f"{SPARSITY}.prunable_layer", PrunableLayer=public.PrunableLayer)
    _module(f"{SPARSITY}.prune_registry", PruneRegistry=Registry)
    wrapper = IsMarked("PruneLowMagnitude", (), {})
    _module(f"{SPARSITY}.pruning_wrapper", PruneLowMagnitude=wrapper)


def pruned(layer):
    """Return the weights that a layer and the layers inside it have pruned."""
    from keras_sac.tfmot._marks import marked_layers, pruned_variables

    return [variable for each, _ in marked_layers(layer) for variable in pruned_variables(each)]


def argument(layer: Any, name: str) -> Any:
    """Return an argument of `prune_low_magnitude` from the mark of a layer."""
    from keras_sac.pruning import Unstructured
    from keras_sac.tfmot._marks import mark_of

    mark: Any = mark_of(layer)
    if name == "pruning_schedule":
        return SameConfig(mark.schedule)
    assert isinstance(mark.pattern, Unstructured)
    return {"block_size": (1, 1), "block_pooling_type": "AVG"}[name]


class SameConfig:
    """Equal to the schedules with the same arguments."""

    def __init__(self, schedule):
        self.schedule = schedule

    def __eq__(self, other):
        config = other.get_config()
        return config.get("config", config) == self.schedule.get_config()

    def __hash__(self):
        return hash(type(self.schedule))


class Step:
    """The number of batches that have begun in the training of a model."""

    def __init__(self, model):
        from keras_sac.pruning import pruning_optimizer
        from keras_sac.tfmot._wrap_optimizer import state_of

        pruner: Any = pruning_optimizer(model)
        loop: Any = state_of(model).loop
        self.value = loop.step if pruner is None else pruner.pruning_step


def values(variables):
    """Return the value of a variable, or of each in a list."""
    import keras

    if isinstance(variables, list):
        return [keras.ops.convert_to_numpy(variable) for variable in variables]
    if isinstance(variables, Step):
        return variables.value
    return keras.ops.convert_to_numpy(variables)


def from_config(config):
    """Create a model from its configuration."""
    import keras

    return keras.saving.deserialize_keras_object(config)


def ignored(*_):
    """Compare nothing."""


def latest(folder):
    """Return the newest file in a folder."""
    return max(glob.glob(f"{folder}/*"), key=os.path.getmtime)


if __name__ == "__main__":
    main()
