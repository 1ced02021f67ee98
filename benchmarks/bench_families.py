"""Check that compression without training reproduces the models that people use.

    KERAS_BACKEND=torch python benchmarks/bench_families.py

Every family of `keras.applications` on small images, a subclassed transformer, and BERT, GPT-2 and
ViT of KerasHub (extra `zoo`), with random weights. Each is calibrated, converted with the whole
variance of the outputs kept, and pruned with no zeros. Both results must give the outputs of the
model: the largest difference, relative to the largest output, is at most 1e-4. A conversion and a
pruning with a real budget then show that the mechanism works there: finite outputs and a report
with changed layers.

The result of a backend is written to `results/bench_families-<backend>.json`, the table of all
backends that have a result to `results/bench_families.md`. A run of some families (`--families`)
keeps the results of the others.
"""

import dataclasses
import importlib.metadata
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd
import tyro
from keras import applications, layers
from zoo_models import bert, gpt2, inputs_for, vit

import keras_sac
from keras_sac.analysis import environment
from timing import each_available, earlier_results, write_result, write_text

RESULTS = pathlib.Path(__file__).parent / "results"
LARGEST_DIFFERENCE = 1e-4


@keras.saving.register_keras_serializable(package="bench_families")
class Transformer(keras.Model):
    """A subclassed encoder of two blocks, its layers in a list of dicts."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.embedding = layers.Dense(32, name="embedding")
        self.blocks = [
            {
                "attention": layers.MultiHeadAttention(4, 8, name=f"attention_{index}"),
                "first_norm": layers.LayerNormalization(name=f"first_norm_{index}"),
                "up": layers.Dense(64, activation="gelu", name=f"up_{index}"),
                "down": layers.Dense(32, name=f"down_{index}"),
                "second_norm": layers.LayerNormalization(name=f"second_norm_{index}"),
            }
            for index in range(2)
        ]
        self.pool = layers.GlobalAveragePooling1D()
        self.head = layers.Dense(10, name="head")

    def call(self, inputs: Any) -> Any:
        """Return the logits of sequences `(batch, steps, features)`."""
        x = self.embedding(inputs)
        for block in self.blocks:
            x = block["first_norm"](x + block["attention"](x, x))
            x = block["second_norm"](x + block["down"](block["up"](x)))
        return self.head(self.pool(x))


def transformer() -> keras.Model:
    """Return the built subclassed transformer."""
    model = Transformer(name="transformer")
    model(np.zeros((1, 12, 16), "float32"))
    return model


def application(name: str, size: int = 32, **options: Any) -> Callable[[], keras.Model]:
    """Return what builds a model of `keras.applications` for images of `size x size`."""
    arguments = {"weights": None, "input_shape": (size, size, 3), "pooling": "avg"}
    return lambda: getattr(applications, name)(include_top=False, **arguments, **options)


# The smallest member of each family, at the smallest size that it takes. Without their heads: the
# dense layers of VGG on images of this size are no part of the family.
FAMILIES: dict[str, Callable[[], keras.Model]] = {
    "Xception": application("Xception", 71),
    "VGG16": application("VGG16"),
    "ResNet50": application("ResNet50"),
    "ResNet50V2": application("ResNet50V2"),
    "InceptionV3": application("InceptionV3", 75),
    "InceptionResNetV2": application("InceptionResNetV2", 75),
    "MobileNet": application("MobileNet", alpha=0.25),
    "MobileNetV2": application("MobileNetV2", alpha=0.35),
    "MobileNetV3Small": application("MobileNetV3Small", alpha=0.75),
    "DenseNet121": application("DenseNet121"),
    "NASNetMobile": application("NASNetMobile"),
    "EfficientNetB0": application("EfficientNetB0"),
    "EfficientNetV2B0": application("EfficientNetV2B0"),
    "ConvNeXtTiny": application("ConvNeXtTiny"),
    "subclassed transformer": transformer,
    "BERT": bert,
    "GPT-2": gpt2,
    "ViT": vit,
}


@dataclasses.dataclass
class Options:
    """Options of the benchmark."""

    families: tuple[str, ...] = tuple(FAMILIES)
    """Names of the families."""
    samples: int = 4
    """Samples of the calibration."""
    max_features: int = 512
    """Of the calibration; wider layers get a sketch."""
    seed: int = 0
    """Seed of weights and inputs."""
    output: pathlib.Path = RESULTS / f"bench_families-{keras.config.backend()}.json"
    """File for the result; the table is written beside it."""


def outputs(model: keras.Model, x: Any) -> list[np.ndarray]:
    """Return the outputs of a model."""
    return keras.tree.flatten(model.predict(x, verbose=0))


def difference(model: keras.Model, expected: list[np.ndarray], x: Any) -> float:
    """Return the largest difference from some outputs, relative to the largest of them."""
    pairs = zip(outputs(model, x), expected, strict=True)
    return max(float(np.abs(new - old).max() / np.abs(old).max()) for new, old in pairs)


def measure(family: str, options: Options) -> dict[str, Any]:
    """Return differences, changed kernels and seconds of a family."""
    keras.utils.set_random_seed(options.seed)
    model = FAMILIES[family]()
    rng = np.random.default_rng(options.seed)
    if isinstance(model, Transformer):
        x: Any = rng.normal(size=(options.samples, 12, 16)).astype("float32")
    else:
        x = inputs_for(model, options.samples, rng)
    # Random weights alone make activations that vanish or explode.
    keras_sac.recalibrate_batch_norm(model, x)
    expected = outputs(model, x)
    start = time.perf_counter()
    calibration = keras_sac.Calibration.from_data(
        model, x, max_features=options.max_features, verbose=0
    )
    full, _ = keras_sac.convert_to_sac(model, calibration, explained_variance=1.0, verbose=0)
    no_zeros, _ = keras_sac.prune_with_data(model, calibration, sparsity=0.0, verbose=0)
    found: dict[str, Any] = {
        "parameters": model.count_params(),
        "kernels": len(calibration.kernels),
        "full rank": difference(full, expected, x),
        "no zeros": difference(no_zeros, expected, x),
    }
    small, report = _low_rank(model, calibration)
    sparse, zeros = keras_sac.prune_with_data(
        model, calibration, sparsity=0.6, criterion="wanda", sequential=False, verbose=0
    )
    found["low rank"] = int((report["method"] == "low_rank").sum())
    found["pruned"] = int((zeros["method"] == "unstructured").sum())
    finite = all(np.isfinite(each).all() for m in (small, sparse) for each in outputs(m, x))
    same = all(np.array_equal(a, b) for a, b in zip(outputs(model, x), expected, strict=True))
    found["finite"], found["model unchanged"] = bool(finite), bool(same)
    found["seconds"] = round(time.perf_counter() - start, 1)
    return found


def _low_rank(model: keras.Model, calibration: keras_sac.Calibration) -> Any:
    """Convert to 70 % of the parameters, or to rank 8 where too few layers can be converted."""
    options: dict[str, Any] = {"sequential": False, "verbose": 0}
    try:
        return keras_sac.convert_to_sac(model, calibration, parameters=0.7, **options)
    except ValueError as error:
        if "budget cannot be met" not in str(error):
            raise
        return keras_sac.convert_to_sac(model, calibration, rank=8, **options)


def passes(found: dict[str, Any]) -> bool:
    """Return whether a family fulfils what the benchmark promises."""
    exact = max(found["full rank"], found["no zeros"]) <= LARGEST_DIFFERENCE
    changed = found["low rank"] > 0 and found["pruned"] > 0
    return exact and changed and found["finite"] and found["model unchanged"]


def table(folder: pathlib.Path) -> str:
    """Return the table of all backends that have a result in a folder."""
    rows = []
    for path in sorted(folder.glob("bench_families-*.json")):
        stored = json.loads(path.read_text())
        for family, found in stored["families"].items():
            rows.append(
                {
                    "family": family,
                    "backend": stored["environment"]["backend"],
                    "parameters": f"{found['parameters']:,}",
                    "kernels": found["kernels"],
                    "full rank": f"{found['full rank']:.1e}",
                    "no zeros": f"{found['no zeros']:.1e}",
                    "low rank": found["low rank"],
                    "pruned": found["pruned"],
                    "passes": "yes" if passes(found) else "no",
                    "seconds": found["seconds"],
                }
            )
    shown = pd.DataFrame(rows).sort_values(["family", "backend"], kind="stable")
    return shown.to_markdown(index=False) + "\n"


def main() -> None:
    """Check every family; write result and table."""
    options = tyro.cli(Options, description=__doc__)
    facts: dict[str, Any] = {
        "samples": options.samples,
        "max_features": options.max_features,
        "seed": options.seed,
        "environment": environment(),
    }
    facts["environment"]["versions"]["keras-hub"] = importlib.metadata.version("keras-hub")
    # Families that were measured before, with the same versions, stay in the result.
    known = earlier_results(options.output, facts, "families")
    for family, found in each_available(options.families, lambda name: measure(name, options)):
        known[family] = found
        ordered = {name: known[name] for name in FAMILIES if name in known}
        write_result(options.output, {**facts, "families": ordered})
    text = table(options.output.parent)
    write_text(options.output.parent / "bench_families.md", text)
    print(text)


if __name__ == "__main__":
    main()
