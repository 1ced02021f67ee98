"""Check what works on the architectures that people use: a table of models and operations.

    KERAS_BACKEND=torch python benchmarks/bench_zoo.py

Small versions of MobileNetV2 and EfficientNetB0 (`keras.applications`) and of BERT, GPT-2, Llama,
ViT, T5, Whisper, ResNet and Gemma (KerasHub, the extra `zoo`), with random weights. Each cell is a
check, not only a call without an error:

- footprint: all operations are known, and the parameters are all floating-point weights;
- prune: `prune_to_sparsity(model, 0.5)` makes half of the weights of all kernels zero;
- train: five steps with `PruningOptimizer` keep half of the weights zero and the loss finite;
- save, sparse file: the loaded model has the same outputs;
- ONNX, SavedModel: `export` verifies the file.

The result of a backend is written to `results/bench_zoo-<backend>.json`, the table of all backends
that have a result to `results/bench_zoo.md`. A run of some models (`--models`) keeps the results of
the others.
"""

import dataclasses
import importlib.metadata
import json
import pathlib
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd
import tyro
from zoo_models import MODELS, inputs_for

import keras_sac
from keras_sac.analysis import environment
from timing import earlier_results, write_result, write_text

RESULTS = pathlib.Path(__file__).parent / "results"
# Zeros of a model: half, but for one weight of each small kernel.
SPARSITY, MARGIN = 0.5, 0.02
SAMPLES = 4


@dataclasses.dataclass
class Options:
    """Options of the benchmark."""

    models: tuple[str, ...] = tuple(MODELS)
    """Names of the models."""
    seed: int = 0
    """Seed of weights and inputs."""
    output: pathlib.Path = RESULTS / f"bench_zoo-{keras.backend.backend()}.json"
    """File for the result; the table is written beside it."""


class CheckFailed(Exception):
    """An operation ended without an error, with a wrong result."""


def check(condition: bool, message: str) -> None:
    """Raise `CheckFailed` unless the condition holds."""
    if not condition:
        raise CheckFailed(message)


def check_zeros(model: keras.Model) -> None:
    """Check that half of the weights in kernels are zero."""
    found = keras_sac.sparsity(model).attrs["total"]["sparsity"]
    check(abs(found - SPARSITY) < MARGIN, f"{found:.1%} of the weights are zero")


def check_same(model: keras.Model, other: keras.Model, x: Any) -> None:
    """Check that two models have the same outputs."""
    pairs = zip(
        keras.tree.flatten(model.predict(x, verbose=0)),
        keras.tree.flatten(other.predict(x, verbose=0)),
        strict=True,
    )
    off = max(float(np.abs(one - two).max()) for one, two in pairs)
    check(off <= 1e-5, f"outputs differ by {off:.2g}")


def footprint(model: keras.Model, x: Any, folder: pathlib.Path) -> None:
    """Count the operations of every layer."""
    found = keras_sac.footprint(model, x, compression=False)
    unknown = found.loc[found["macs"].isna(), "type"].tolist()
    check(not unknown, f"unknown operations: {', '.join(unknown)}")
    # Keras counts the samples of an adapted layer, an integer, among the parameters.
    numbers = sum(int(np.prod(w.shape)) for w in model.weights if "float" in w.dtype)
    check(found.attrs["total"]["parameters"] == numbers, "another number of weights")


def prune(model: keras.Model, x: Any, folder: pathlib.Path) -> None:
    """Prune half of the weights."""
    keras_sac.prune_to_sparsity(model, SPARSITY)
    check_zeros(model)


def train(model: keras.Model, x: Any, folder: pathlib.Path) -> None:
    """Train five steps with masks that are made in the second one."""
    schedule = keras_sac.ConstantSparsity(SPARSITY, begin_step=1, frequency=2)
    y = keras.tree.map_structure(np.zeros_like, model.predict(x, verbose=0))
    model.compile(keras_sac.PruningOptimizer("adam", schedule), loss=_loss_of(y))
    found = model.fit(x, y, epochs=5, batch_size=SAMPLES, verbose=0)
    check(bool(np.isfinite(found.history["loss"]).all()), "the loss is not finite")
    check_zeros(model)


def _loss_of(y: Any) -> Any:
    return dict.fromkeys(y, "mse") if isinstance(y, dict) else "mse"


def save(model: keras.Model, x: Any, folder: pathlib.Path) -> None:
    """Save and load a `.keras` file."""
    model.save(folder / "model.keras")
    check_same(model, keras.saving.load_model(folder / "model.keras"), x)


def sparse_file(model: keras.Model, x: Any, folder: pathlib.Path) -> None:
    """Save and load a sparse file."""
    keras_sac.save_sparse(model, folder / "model.sparse")
    check_same(model, keras_sac.load_sparse(folder / "model.sparse"), x)


def onnx(model: keras.Model, x: Any, folder: pathlib.Path) -> None:
    """Export to ONNX, verified."""
    keras_sac.export(model, folder / "model.onnx", "onnx", sample=x, verbose=0)


def saved_model(model: keras.Model, x: Any, folder: pathlib.Path) -> None:
    """Export a SavedModel, verified."""
    keras_sac.export(model, folder / "model", "tf_saved_model", sample=x, verbose=0)


Operation = Callable[[keras.Model, Any, pathlib.Path], None]
# Those that follow `prune` work on the pruned model.
OPERATIONS: dict[str, Operation] = {
    "footprint": footprint,
    "prune": prune,
    "save and load": save,
    "sparse file": sparse_file,
    "ONNX": onnx,
    "SavedModel": saved_model,
    "train": train,
}


def measure(options: Options) -> dict[str, dict[str, Any]]:
    """Return, for each model and operation, why it failed (`None` if not) and its seconds."""
    result: dict[str, dict[str, Any]] = {}
    for name in options.models:
        keras.utils.set_random_seed(options.seed)
        model = MODELS[name]()
        x = inputs_for(model, SAMPLES, np.random.default_rng(options.seed))
        result[name] = {"parameters": model.count_params()}
        for operation, function in OPERATIONS.items():
            start, reason = time.perf_counter(), None
            with tempfile.TemporaryDirectory() as folder:
                try:
                    function(model, x, pathlib.Path(folder))
                except Exception as error:
                    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            seconds = round(time.perf_counter() - start, 2)
            result[name][operation] = {"failed": reason, "seconds": seconds}
            print(f"{name}, {operation}: {reason or 'ok'} ({seconds} s)", flush=True)
    return result


def table() -> str:
    """Return the table of all backends that have a result, and the reason of each failure."""
    rows, reasons = [], []
    for path in sorted(RESULTS.glob("bench_zoo-*.json")):
        stored = json.loads(path.read_text())
        backend = stored["environment"]["backend"]
        for name, cells in stored["models"].items():
            row = {"model": name, "backend": backend, "parameters": f"{cells['parameters']:,}"}
            for operation in OPERATIONS:
                reason = cells[operation]["failed"]
                row[operation] = "yes" if reason is None else f"no ({len(reasons) + 1})"
                if reason is not None:
                    reasons.append(f"{len(reasons) + 1}. {name}, {operation}, {backend}: {reason}")
            rows.append(row)
    shown = pd.DataFrame(rows).sort_values(["model", "backend"], kind="stable")
    return "\n".join([shown.to_markdown(index=False), "", *reasons]).rstrip() + "\n"


def main() -> None:
    """Run every operation on every model; write result and table."""
    options = tyro.cli(Options, description=__doc__)
    warnings.filterwarnings("ignore", "Layer .* does not support masking")
    # Models that were measured before, with the same versions, stay in the result.
    facts: dict[str, Any] = {"seed": options.seed, "environment": environment()}
    facts["environment"]["versions"]["keras-hub"] = importlib.metadata.version("keras-hub")
    found = {**earlier_results(options.output, facts, "models"), **measure(options)}
    ordered = {name: found[name] for name in MODELS if name in found}
    write_result(options.output, {**facts, "models": ordered})
    text = table()
    write_text(RESULTS / "bench_zoo.md", text)
    print(text)


if __name__ == "__main__":
    main()
