"""`SACEinsumDense`: an einsum layer that is trained inside a fixed subspace."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac._model import EinsumEquation
from keras_sac.layers._product_order import factored_is_cheaper, rows_of
from keras_sac.layers._subspace_layer import SubspaceLayer


@keras.saving.register_keras_serializable(package="keras_sac")
class SACEinsumDense(SubspaceLayer):
    """Einsum layer whose kernel is a fixed basis times a small trained learner.

    `y = activation(einsum(equation, x, K) + bias)`, `K = B L`. The axes that the equation sums over
    are the rows of the basis `B (in_dim, rank)`; the axes that the kernel adds to the output are
    the columns of the learner `L (rank, units)`. Such are the projections of `MultiHeadAttention`:
    `"abc,cde->abde"` (query, key, value) and `"abcd,cde->abe"` (output).

    Args:
        equation: as in `keras.layers.EinsumDense`. A kernel with an axis that is in both input and
            output does not factor.
        output_shape: integer or tuple, as in `keras.layers.EinsumDense` (no batch axis).
        basis: a `Basis` or an array of shape `(in_dim, rank)`, or a kind, as in `SACDense`;
            `in_dim` is the product of the contracted axes in the kernel's order.
        rank: number of columns, `1 <= rank <= in_dim`.
        activation: as in `keras.layers.EinsumDense`.
        bias_axes: labels of the output's axes that have a bias. Defaults to no bias.
        **kwargs: other arguments of `SACDense` (`center`, `learner_initializer`, `name`, ...).

    Input shape: as in the equation, the batch axis first.
    Output shape: as `keras.layers.EinsumDense`.

    Raises:
        ValueError: if the equation does not parse or does not factor, or as `SACDense`.

    Examples:
        >>> import numpy as np
        >>> from keras_sac.layers import SACEinsumDense
        >>> x = np.random.default_rng(0).normal(size=(8, 5, 12)).astype("float32")
        >>> layer = SACEinsumDense("abc,cde->abde", (None, 2, 3), "pca", rank=4, bias_axes="de")
        >>> layer.adapt(x)
        >>> tuple(layer(x).shape), tuple(layer.kernel.shape)
        ((8, 5, 2, 3), (12, 2, 3))

    Reference:
        Denil et al., 2013, "Predicting Parameters in Deep Learning".
    """

    stock_class = keras.layers.EinsumDense

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        basis: Any,
        *,
        rank: int | None = None,
        activation: Any = None,
        bias_axes: str | None = None,
        **kwargs: Any,
    ):
        if "use_bias" in kwargs:
            raise ValueError(
                "`SACEinsumDense` has no argument `use_bias`. Received: use_bias="
                f"{kwargs['use_bias']!r}. Pass `bias_axes`, the labels of the axes with a bias."
            )
        use_bias = bias_axes is not None
        super().__init__(basis, rank=rank, activation=activation, use_bias=use_bias, **kwargs)
        self.equation = equation
        self.partial_output_shape = output_shape
        self.bias_axes = bias_axes
        self._parsed = EinsumEquation.parse(equation)
        self._sizes = self._parsed.output_sizes(output_shape)
        made = [self._sizes.get(label) for label in self._parsed.made]
        self._made_sizes = tuple(size for size in made if size is not None)
        if None in made:
            missing = [c for c, size in zip(self._parsed.made, made, strict=True) if size is None]
            raise ValueError(
                f"`output_shape` must give a size to {missing}, the axes that the kernel adds. "
                f"Received: output_shape={output_shape!r} for {equation!r}"
            )
        if use_bias and not (bias_axes and set(bias_axes) <= set(self._parsed.outputs)):
            raise ValueError(
                f"`bias_axes` must be labels of the output {self._parsed.outputs!r} of "
                f"{equation!r}. Received: bias_axes={bias_axes!r}"
            )

    def build(self, input_shape: Any) -> None:
        """Add the weights for inputs of shape `input_shape`, batch axis included."""
        grid = self.input_grid(input_shape)
        self._contracted_sizes = grid
        self._input_shape = tuple(input_shape)
        self._output_shape = self.compute_output_shape(input_shape)
        self.add_subspace_weights(
            grid,
            math.prod(self._made_sizes),
            bias_shape=self._bias_shape_for(self.bias_axes) if self.bias_axes else None,
        )
        axes = self._parsed.input_axes(self._parsed.contracted, len(input_shape))
        self.input_spec = keras.layers.InputSpec(
            ndim=len(input_shape), axes=dict(zip(axes, grid, strict=True))
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return the shape of the output, batch axis included."""
        parsed, ndim = self._parsed, len(input_shape)
        elided = parsed.elided(ndim)
        labelled = []
        for label in parsed.outputs:
            if label in parsed.made:
                labelled.append(self._sizes[label])
                continue
            size = input_shape[parsed.input_axes(label, ndim)[0]]
            wanted = self._sizes.get(label)
            if size is not None and wanted is not None and size != wanted:
                raise ValueError(
                    f"Axis {label!r} of {self.equation!r} must have the size {wanted}, as in "
                    f"`output_shape`. Received: an input of shape {tuple(input_shape)} with the "
                    f"size {size}"
                )
            labelled.append(wanted if size is None else size)
        rest = tuple(input_shape[:elided] if parsed.ellipsis == "left" else input_shape[-elided:])
        if not elided:
            return tuple(labelled)
        return (*rest, *labelled) if parsed.ellipsis == "left" else (*labelled, *rest)

    def get_config(self) -> dict[str, Any]:
        """Return the configuration. It names the kind of the basis; the matrix is a weight."""
        config = super().get_config()
        # An einsum layer has `bias_axes` instead.
        del config["use_bias"]
        config.update(
            equation=self.equation,
            output_shape=self.partial_output_shape,
            bias_axes=self.bias_axes,
        )
        return config

    def input_grid(self, input_shape: Any) -> tuple[int, ...]:
        """Return the sizes of the contracted axes, in the kernel's order."""
        parsed = self._parsed
        axes = parsed.input_axes(parsed.contracted, len(input_shape))
        return tuple(input_shape[axis] for axis in axes)

    def kernel_shape(self) -> tuple[int, ...]:
        """Return the sizes of the kernel's axes, in the order of the equation."""
        labels = self._parsed.contracted + self._parsed.made
        sizes = dict(zip(labels, (*self._contracted_sizes, *self._made_sizes), strict=True))
        return tuple(sizes[label] for label in self._parsed.kernel)

    def is_factored(self, inputs: Any) -> bool:
        """Return whether two thin products are cheaper for this number of rows."""
        parsed, shape = self._parsed, inputs.shape
        contracted = parsed.input_axes(parsed.contracted, len(shape))
        rows = rows_of([size for axis, size in enumerate(shape) if axis not in contracted])
        return factored_is_cheaper(rows, self.in_dim, self.rank, math.prod(self._made_sizes))

    def apply_basis(self, inputs: Any) -> Any:
        """Return `x B`: the axes that pass through, then `rank`."""
        basis = ops.reshape(self.basis, (*self._contracted_sizes, self.rank))
        return self._einsum(self._parsed.project_equation(), inputs, basis)

    def apply_learner(self, projections: Any) -> Any:
        """Return `z L` with the axes of the output."""
        learner = ops.reshape(self.learner, (self.rank, *self._made_sizes))
        return self._einsum(self._parsed.combine_equation(), projections, learner)

    def apply_kernel(self, inputs: Any, kernel: Any) -> Any:
        """Return `einsum(equation, x, kernel)`."""
        return self._einsum(self.equation.replace(" ", ""), inputs, kernel)

    def broadcast_to_outputs(self, vector: Any) -> Any:
        """Reshape a vector `(units,)` to the order of the output's axes, with ones in between."""
        return self._made_to_outputs(ops, vector)

    def as_bias(self, vector: np.ndarray) -> np.ndarray:
        """Reshape a vector `(units,)` to the order of the output's axes, with ones in between."""
        return self._made_to_outputs(np, vector)

    @classmethod
    def arguments_from_stock(cls, layer: Any, use_bias: bool) -> dict[str, Any]:
        """Return the arguments for the place of an `EinsumDense` layer."""
        arguments = super().arguments_from_stock(layer, use_bias)
        bias_axes = layer.bias_axes
        if arguments.pop("use_bias") and not bias_axes:
            parsed = EinsumEquation.parse(layer.equation)
            bias_axes = "".join(label for label in parsed.outputs if label in parsed.made)
        return {
            **arguments,
            "equation": layer.equation,
            "output_shape": layer.partial_output_shape,
            "bias_axes": bias_axes,
        }

    @classmethod
    def why_not_from_stock(cls, layer: Any) -> str | None:
        """Return a reason for equations that do not factor, too."""
        try:
            EinsumEquation.parse(layer.equation)
        except ValueError:
            return f"the kernel of {layer.equation} does not factor into basis and learner"
        return super().why_not_from_stock(layer)

    def make_stock_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built `EinsumDense`; with `center`, all axes of the units have a bias."""
        bias_axes = self.bias_axes
        if kwargs.pop("use_bias") and self.center:
            wanted = set(self._parsed.made) | set(bias_axes or "")
            bias_axes = "".join(label for label in self._parsed.outputs if label in wanted)
        layer = keras.layers.EinsumDense(
            self.equation, self.partial_output_shape, bias_axes=bias_axes, **kwargs
        )
        layer.build(self._input_shape)
        return layer

    def make_basis_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built `EinsumDense` that contracts the inputs to `rank`."""
        equation = self._parsed.project_equation()
        # The labels of the result. The last one is the rank, a label that the equation lacks.
        labels = EinsumEquation.parse(equation).outputs
        sizes = {**self._sizes, labels[-1]: self.rank}
        bias_axes = labels[-1] if kwargs.pop("use_bias") else None
        # As the argument of a layer: without the batch axis, which an ellipsis on the left holds.
        named = labels if self._parsed.ellipsis == "left" else labels[1:]
        shape = tuple(sizes.get(label) for label in named)
        layer = keras.layers.EinsumDense(equation, shape, bias_axes=bias_axes, **kwargs)
        layer.build(self._input_shape)
        return layer

    def make_learner_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built `EinsumDense` from `rank` to the made axes."""
        equation = self._parsed.combine_equation()
        bias_axes = self.bias_axes if kwargs.pop("use_bias") else None
        layer = keras.layers.EinsumDense(
            equation, self.partial_output_shape, bias_axes=bias_axes, **kwargs
        )
        layer.build(self.make_basis_layer(use_bias=False).compute_output_shape(self._input_shape))
        return layer

    def _einsum(self, equation: str, x: Any, weights: Any) -> Any:
        return ops.einsum(self._parsed.spelled_out(equation, len(x.shape)), x, weights)

    def _made_to_outputs(self, xp: Any, vector: Any) -> Any:
        made = self._parsed.made
        in_order = [label for label in self._parsed.outputs if label in made]
        grid = xp.reshape(vector, self._made_sizes)
        grid = xp.transpose(grid, [made.index(label) for label in in_order])
        return xp.reshape(grid, self._bias_shape_for(made))

    def _bias_shape_for(self, axes: str) -> tuple[int, ...]:
        outputs, shape = self._parsed.outputs, self._output_shape
        first = min(outputs.index(label) for label in axes)
        sizes = shape[len(shape) - len(outputs) :]
        trailing: tuple[int, ...] = ()
        if self._parsed.ellipsis == "right":
            sizes, trailing = shape[: len(outputs)], (1,) * (len(shape) - len(outputs))
        wanted = [s if label in axes else 1 for label, s in zip(outputs, sizes, strict=True)]
        known = [size for size in wanted[first:] if size is not None]
        if len(known) < len(wanted[first:]):
            raise ValueError(
                f"A bias over the axes {axes!r} of {self.equation!r} needs their sizes. Received: "
                f"an output of shape {shape}. Fix the size of the input, or choose other "
                "`bias_axes`."
            )
        return (*known, *trailing)
