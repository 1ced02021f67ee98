"""What is trained both by tfmot and by ours: models, optimizers, schedules, patterns, data.

Layers, optimizers and schedules are pairs of a class name and its arguments, which mean the same in
tf_keras and tfmot as in Keras 3 and here, so that one table makes both sides.
"""

import dataclasses
from typing import Any

import numpy as np

Named = tuple[str, dict[str, Any]]

BATCH_SIZE = 16
CLASSES = 8


def _dense(*units: int) -> list[Named]:
    names = ("first", "second", "third")
    hidden = [
        ("Dense", {"units": n, "activation": "relu", "name": name})
        for n, name in zip(units, names, strict=False)
    ]
    return [*hidden, ("Dense", {"units": CLASSES, "name": "last"})]


def _conv(*filters: int) -> list[Named]:
    first, second = (
        ("Conv2D", {"filters": n, "kernel_size": 3, "activation": "relu", "name": name})
        for n, name in zip(filters, ("first", "second"), strict=True)
    )
    # Not the maximum: a filter whose weights are all pruned gives the same number everywhere, and
    # the backends would send the gradient of a tie to different places.
    pool = ("AveragePooling2D", {"pool_size": 2})
    return [first, pool, second, ("Flatten", {}), ("Dense", {"units": CLASSES, "name": "last"})]


MODELS = {
    "mlp": ((20,), _dense(16, 12)),
    # 50 weights in the second kernel: 15 % of them is 7.5.
    "mlp50": ((20,), _dense(10, 5)),
    # Inputs that four does not divide.
    "mlp18": ((18,), _dense(14, 9)),
    "cnn": ((10, 10, 1), _conv(4, 8)),
    "cnn4": ((10, 10, 4), _conv(8, 6)),
}

# At these rates pruned weights come back now and then. With Adam's usual epsilon of 1e-7 the first
# step turns a rounding error in a gradient near zero into an error of 1e-5 in the weight.
SGD = ("SGD", {"learning_rate": 0.2, "momentum": 0.9})
ADAM = ("Adam", {"learning_rate": 0.05, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-3})


@dataclasses.dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        name: of the test, and of the files.
        model: one of `MODELS`.
        optimizer: class in `keras.optimizers`, and its arguments.
        schedule: class in `tfmot.sparsity.keras`, and its arguments.
        ours: what our schedule is given besides.
        our_schedule: in place of `schedule` on our side.
        block: block size and pooling, or `None`.
        n_m: zeros among consecutive input channels, and how many those are, or `None`.
        steps: number of batches.
        epochs: number of epochs that tfmot trains, of `steps / epochs` batches each.
        grid: the initial weights are multiples of this, so that many are equal; or `None`.
        seed: of weights and data.
    """

    name: str
    model: str
    optimizer: Named
    schedule: Named
    _: dataclasses.KW_ONLY
    ours: dict[str, Any] = dataclasses.field(default_factory=dict)
    our_schedule: Named | None = None
    block: tuple[tuple[int, int], str] | None = None
    n_m: tuple[int, int] | None = None
    steps: int = 45
    epochs: int = 1
    grid: float | None = None
    seed: int = 0

    def __str__(self) -> str:
        return self.name

    @property
    def input_shape(self) -> tuple[int, ...]:
        return MODELS[self.model][0]

    @property
    def layers(self) -> list[Named]:
        return MODELS[self.model][1]

    def to_json(self) -> dict[str, Any]:
        """Return what `tfmot_child.py` reads."""
        pattern: dict[str, Any] = {}
        if self.block:
            pattern = {"block_size": self.block[0], "block_pooling_type": self.block[1]}
        if self.n_m:
            pattern = {"sparsity_m_by_n": self.n_m}
        return {
            "name": self.name,
            "input_shape": self.input_shape,
            "layers": self.layers,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "tfmot_pattern": pattern,
            "batch_size": BATCH_SIZE,
            "steps": self.steps,
            "epochs": self.epochs,
        }

    def data(self) -> dict[str, np.ndarray]:
        """Return `x` and `y` of all batches, in order, and the weights `<layer>/<position>`."""
        rng = np.random.default_rng(self.seed)
        samples = self.steps * BATCH_SIZE
        x = rng.normal(size=(samples, *self.input_shape)).astype("float32")
        teacher = rng.normal(size=(int(np.prod(self.input_shape)), CLASSES))
        arrays = {"x": x, "y": np.argmax(x.reshape(samples, -1) @ teacher, axis=1).astype("int32")}
        shape = self.input_shape
        for kind, config in self.layers:
            shape, kernel = _shapes(kind, config, shape)
            if kernel is not None:
                scale = 0.4 * np.sqrt(2 / np.prod(kernel[:-1]))
                weights = rng.normal(0, scale, kernel)
                if self.grid:
                    weights = np.round(weights / self.grid) * self.grid
                arrays[f"{config['name']}/0"] = weights.astype("float32")
                # No zeros: a filter that is pruned as a whole would sit at the corner of the relu.
                arrays[f"{config['name']}/1"] = rng.normal(0, 0.1, kernel[-1:]).astype("float32")
        return arrays


def _shapes(kind: str, config: dict[str, Any], shape: Any) -> tuple[Any, Any]:
    """Return the output shape of a layer, and the shape of its kernel if it has one."""
    if kind == "Dense":
        return (config["units"],), (*shape, config["units"])
    if kind == "Conv2D":
        size, filters = config["kernel_size"], config["filters"]
        out = (shape[0] - size + 1, shape[1] - size + 1, filters)
        return out, (size, size, shape[2], filters)
    if kind == "AveragePooling2D":
        return (shape[0] // 2, shape[1] // 2, shape[2]), None
    return (int(np.prod(shape)),), None


def _polynomial(s_i: float, s_f: float, begin: int, end: int, frequency: int, power: float = 3):
    names = ("initial_sparsity", "final_sparsity", "begin_step", "end_step", "frequency", "power")
    values = (s_i, s_f, begin, end, frequency, power)
    return ("PolynomialDecay", dict(zip(names, values, strict=True)))


def _constant(sparsity: float, begin: int, end: int, frequency: int) -> Named:
    names = ("target_sparsity", "begin_step", "end_step", "frequency")
    return ("ConstantSparsity", dict(zip(names, (sparsity, begin, end, frequency), strict=True)))


# tfmot never prunes at the end step where the frequency does not lead there.
STRICT = {"ours": {"prune_at_end": False}}
# tfmot makes n:m masks at step 1 only, whatever the schedule.
ONCE = _constant(0.5, 1, 1, 1)


def _n_m(name: str, model: str, optimizer: Named, n_m: tuple[int, int]) -> Case:
    return Case(name, model, optimizer, _constant(0.5, 0, -1, 3), our_schedule=ONCE, n_m=n_m)


CASES = [
    # begin 0 and later; every step, every third, every seventh; to the end and not quite. Those
    # that are pruned at every step for ever are also refreshed after the last update.
    Case("mlp-sgd-poly-b0-f1", "mlp", SGD, _polynomial(0.0, 0.8, 0, 30, 1)),
    Case("mlp-sgd-poly-b5-f3", "mlp", SGD, _polynomial(0.2, 0.8, 5, 35, 3), steps=50),
    Case("mlp-sgd-poly-b4-f7-strict", "mlp", SGD, _polynomial(0.1, 0.9, 4, 38, 7), **STRICT),
    Case("mlp-sgd-constant-b0-f7", "mlp", SGD, _constant(0.7, 0, -1, 7)),
    Case("mlp-sgd-constant-b6-f3-end", "mlp", SGD, _constant(0.6, 6, 30, 3)),
    Case("mlp-adam-poly-b0-f3", "mlp", ADAM, _polynomial(0.3, 0.85, 0, 36, 3)),
    Case("mlp-adam-poly-b10-f1-line", "mlp", ADAM, _polynomial(0.1, 0.7, 10, 40, 1, 1), seed=1),
    Case("mlp-adam-poly-b3-f7-strict", "mlp", ADAM, _polynomial(0.0, 0.8, 3, 37, 7, 2), **STRICT),
    Case("mlp-adam-constant-b1-f1", "mlp", ADAM, _constant(0.5, 1, -1, 1)),
    Case("cnn-sgd-poly-b0-f3", "cnn", SGD, _polynomial(0.1, 0.8, 0, 36, 3)),
    Case("cnn-sgd-poly-b2-f7-strict", "cnn", SGD, _polynomial(0.2, 0.9, 2, 43, 7, 2), **STRICT),
    Case("cnn-sgd-constant-b5-f1", "cnn", SGD, _constant(0.6, 5, -1, 1), steps=40),
    Case("cnn-adam-constant-b0-f3", "cnn", ADAM, _constant(0.8, 0, 30, 3), steps=40),
    # Blocks.
    Case("block22-avg", "mlp", SGD, _polynomial(0.2, 0.75, 1, 40, 3), block=((2, 2), "AVG")),
    Case("block22-max", "mlp", ADAM, _constant(0.6, 3, -1, 7), block=((2, 2), "MAX")),
    Case("block41-max", "mlp", SGD, _polynomial(0.2, 0.8, 4, 34, 3), block=((4, 1), "MAX")),
    Case("block14-avg", "mlp", ADAM, _polynomial(0.1, 0.7, 1, 43, 7), block=((1, 4), "AVG")),
    # n zeros among m consecutive input channels.
    _n_m("2of4-mlp-sgd", "mlp", SGD, (2, 4)),
    _n_m("2of4-cnn-adam", "cnn4", ADAM, (2, 4)),
    # Where m does not divide the input channels, the last group is filled up with zeros.
    _n_m("2of4-mlp-rest", "mlp18", SGD, (2, 4)),
    _n_m("2of4-cnn-one-channel", "cnn", SGD, (2, 4)),
    # How many weights are kept is counted in float32, by rounding halves to even: 4.5 of 96 is 4,
    # 7.5 of 50 is 7 at a sparsity of 0.85 (in float64 it would be 8); and one at least.
    Case("count-half-to-even", "mlp", SGD, _constant(0.953125, 2, -1, 7)),
    Case("count-float32", "mlp50", SGD, _constant(0.85, 0, -1, 7)),
    Case("count-one-at-least", "mlp", SGD, _constant(0.996, 9, -1, 7)),
    # What equals the threshold stays.
    Case("ties", "mlp", SGD, _polynomial(0.5, 0.8, 1, 43, 14), grid=0.125),
    # tfmot masks the weights at the end of each epoch too.
    Case("three-epochs", "cnn", ADAM, _polynomial(0.1, 0.8, 0, 42, 7), epochs=3, seed=1),
]
