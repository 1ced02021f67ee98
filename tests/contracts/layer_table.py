"""SAC layers for the contract suite; a new layer is one row."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from keras_sac.layers import SACConv1D, SACConv2D, SACConv3D, SACDense, SACEinsumDense


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer with one configuration, and a `rank` at which two thin products are cheaper.

    `units` is the number of columns of the learner.
    """

    name: str
    make: Callable[..., Any]
    stock: Callable[..., keras.layers.Layer]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    in_dim: int
    units: int
    rank: int
    has_center: bool = True

    def __str__(self) -> str:
        return self.name


def _dense(name: str, shape: tuple[int, ...]) -> Row:
    return Row(
        name,
        lambda basis, **kw: SACDense(12, basis, **kw),
        lambda **kw: keras.layers.Dense(12, **kw),
        shape,
        (*shape[:-1], 12),
        in_dim=shape[-1],
        units=12,
        rank=4,
    )


def _conv(layer: Any, stock: Any, shape: Any, out: Any, in_dim: int, label: str, **kw: Any) -> Row:
    return Row(
        f"{layer.__name__}-{label}",
        lambda basis, **more: layer(6, basis=basis, **kw, **more),
        lambda **more: stock(6, **kw, **more),
        shape,
        out,
        in_dim=in_dim,
        units=6,
        rank=3,
    )


def _read(row: Row, reading: str, in_dim: int, units: int) -> Row:
    """Return the row of a convolution in another reading."""
    return dataclasses.replace(
        row,
        name=f"{row.name}-{reading}",
        make=lambda basis, **kw: row.make(basis, reading=reading, **kw),
        in_dim=in_dim,
        units=units,
        has_center=False,
    )


def _einsum(equation: str, output_shape: Any, shape: Any, out: Any, in_dim: int, units: int) -> Row:
    operands, result = equation.split("->")
    kernel = operands.split(",")[1]
    bias_axes = "".join(label for label in result if label in kernel)
    return Row(
        f"SACEinsumDense-{equation}",
        lambda basis, **kw: SACEinsumDense(
            equation, output_shape, basis, bias_axes=bias_axes, **kw
        ),
        lambda **kw: keras.layers.EinsumDense(equation, output_shape, bias_axes=bias_axes, **kw),
        shape,
        out,
        in_dim=in_dim,
        units=units,
        rank=3,
    )


C1, C2, C3 = keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D

CAUSAL = _conv(SACConv1D, C1, (9, 4), (9, 6), 12, "causal", kernel_size=3, padding="causal")
STRIDED = _conv(
    *(SACConv2D, C2, (8, 9, 4), (4, 5, 6), 36, "strided"),
    kernel_size=3,
    strides=2,
    padding="same",
)
VALID = _conv(SACConv3D, C3, (5, 6, 5, 2), (3, 4, 3, 6), 54, "valid", kernel_size=3)

ROWS = [
    _dense("SACDense-2d", (10,)),
    _dense("SACDense-4d", (3, 5, 10)),
    CAUSAL,
    _read(CAUSAL, "channels", in_dim=4, units=18),
    _conv(SACConv1D, C1, (11, 4), (7, 6), 12, "dilated", kernel_size=3, dilation_rate=2),
    _conv(SACConv2D, C2, (8, 7, 3), (8, 7, 6), 27, "same", kernel_size=3, padding="same"),
    _conv(
        SACConv2D,
        C2,
        (8, 9, 3),
        (4, 5, 6),
        18,
        "strided",
        kernel_size=(3, 2),
        strides=2,
        padding="same",
    ),
    _read(STRIDED, "channels", in_dim=4, units=54),
    _read(STRIDED, "spatial", in_dim=12, units=18),
    VALID,
    _read(VALID, "spatial", in_dim=6, units=54),
    _einsum("ab,bc->ac", 7, (9,), (7,), 9, 7),
    _einsum("abc,cde->abde", (None, 4, 3), (5, 8), (5, 4, 3), 8, 12),
    _einsum("abcd,cde->abe", (None, 9), (5, 2, 4), (5, 9), 8, 9),
    _einsum("...x,yx->...y", 9, (4, 8), (4, 9), 8, 9),
    _einsum("abc,bd->acd", (6, 8), (9, 6), (6, 8), 9, 8),
    _einsum("abc,dbe->adec", (3, 4, 5), (9, 5), (3, 4, 5), 9, 12),
]
