"""Find the kernels of a model whose products can be observed, and read their rows."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_sac import _backend
from keras_sac._model import (
    STEPWISE,
    Call,
    Choose,
    KernelAxes,
    LayerKind,
    describe,
    kind_of,
    layer_paths,
    own_weights,
    select_layers,
)
from keras_sac.calibration._products import Product, see_products, watched_products

# Rounding of a long sum in single precision, relative to the largest output.
_TOLERANCE = 1e-2
_CHECKED_ROWS = 256
# Samples of the passes that find the kernels.
_SAMPLES = 8


@dataclasses.dataclass(frozen=True)
class ObservedKernel:
    """A kernel whose products a calibration sees.

    Attributes:
        path: of its layer.
        layer: its layer.
        variable: the kernel.
        axes: of the kernel.
        calls: how often a forward pass calls the layer.
        input_shape: of the first call, batch axis included.
        output_shape: of the first call, batch axis included.
        offset: what the layer adds to this product before its activation, shape `(units,)`; `None`
            if its outputs are something else. The gradients at the product are not known then.
        batch_norm: the path of the one batch normalization that receives the outputs, and that
            nothing else receives; `None` if there is none.
    """

    path: str
    layer: keras.layers.Layer
    variable: keras.Variable
    axes: KernelAxes
    calls: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    offset: np.ndarray | None
    batch_norm: str | None

    @property
    def has_outputs(self) -> bool:
        """Whether the outputs of the layer, before its activation, are this product and a bias."""
        return self.offset is not None

    @property
    def key(self) -> str:
        """Path of the layer and name of the kernel, unique in the model."""
        return f"{self.path}:{self.variable.name}"

    @property
    def kind(self) -> LayerKind:
        """The entry of the layer in the table of layer classes."""
        kind = kind_of(self.layer)
        assert kind is not None  # an observed layer is in the table
        return kind

    @property
    def in_dim(self) -> int:
        """Number of inputs of a product, in one group."""
        return math.prod(self.variable.shape[axis] for axis in self.axes.inputs)

    @property
    def units(self) -> int:
        """Number of outputs of a product, in all groups."""
        return math.prod(self.variable.shape[axis] for axis in self.axes.outputs)

    @property
    def uses(self) -> float:
        """How often a forward pass of one sample multiplies by the kernel."""
        uses = self.kind.uses(self.layer, self.input_shape, self.output_shape)
        # SAC layers may multiply by the whole kernel in one product.
        once = uses.get(self.variable.name, 0) if isinstance(uses, Mapping) else uses
        return self.calls * once / self.input_shape[0]

    def matrices(self, layer: Any = None) -> np.ndarray:
        """Return the kernel of its layer, or of a copy of it, as `(groups, in_dim, units)`."""
        layer = self.layer if layer is None else layer
        variable = next(each for each in layer.weights if each.name == self.variable.name)
        return self.in_matrices(keras.ops.convert_to_numpy(variable).astype(np.float64))

    def in_matrices(self, values: np.ndarray) -> np.ndarray:
        """Return values of the kernel's shape as matrices `(groups, in_dim, units)`."""
        matrix = self.axes.to_matrix(values)
        return np.moveaxis(matrix.reshape(self.in_dim, self.axes.groups, -1), 1, 0)

    def from_matrices(
        self, matrices: np.ndarray, shape: tuple[int, ...] | None = None
    ) -> np.ndarray:
        """Return matrices `(groups, in_dim, units)` as a kernel, by default of this shape."""
        columns = np.moveaxis(matrices, 0, 1).reshape(matrices.shape[1], -1)
        return self.axes.from_matrix(
            columns, tuple(self.variable.shape) if shape is None else shape
        )

    def rows(
        self,
        product: Product,
        layer: Any = None,
        mask: Any = None,
        choose: Choose | None = None,
    ) -> np.ndarray:
        """Return the inputs of a product as rows, `(groups, rows, in_dim)`, float32.

        Args:
            product: of this layer, or of the layer that stands for it in another model.
            layer: the layer that the geometry is read from; defaults to this one.
            mask: of the inputs. Rows of masked positions are left out.
            choose: from the number of rows to the numbers of those that are wanted; all by default.
        """
        layer = self.layer if layer is None else layer
        inputs = as_floats(product.inputs)
        if mask is None and choose is None:
            found = self.kind.kernel_rows(layer, inputs, product.mask)
        else:
            found = self.kind.chosen_rows(
                layer, inputs, product.mask, lambda count: _numbers(count, mask, choose)
            )
        rows = found[self.variable.name]
        return rows if rows.ndim == 3 else rows[None]

    def made_rows(self, product: Product, choose: Choose | None = None) -> np.ndarray:
        """Return what the kernel makes of the inputs of a product, as rows `(rows, units)`."""
        if self.offset is not None:
            return self.output_rows(product.outputs, product.mask, choose) - self.offset
        rows = self.rows(product, mask=product.mask, choose=choose)
        made = rows @ self.matrices().astype(rows.dtype)
        return np.moveaxis(made, 0, 1).reshape(rows.shape[1], -1)

    def output_rows(
        self, tensor: Any, mask: Any = None, choose: Choose | None = None
    ) -> np.ndarray:
        """Return the outputs of a product, or their gradients, as rows `(rows, units)`."""
        rows = self.kind.output_rows(self.layer, as_floats(tensor))
        if mask is None and choose is None:
            return rows
        return rows[_numbers(len(rows), mask, choose)]


def as_floats(tensor: Any) -> np.ndarray:
    """Return a tensor as a NumPy array that products are exact enough in."""
    array = keras.ops.convert_to_numpy(tensor)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def observed_kernels(
    model: keras.Model, inputs: Any, targets: Any = None
) -> tuple[list[ObservedKernel], dict[str, str]]:
    """Return the kernels whose products can be observed, in the order of their first calls.

    Args:
        model: built.
        inputs: a batch.
        targets: the layers to observe, as for `PruningOptimizer`; defaults to all.

    Returns:
        The kernels, and for every other kernel of the model the reason why it is none of them, by
        path of the layer and name of the kernel.

    Raises:
        ValueError: if `targets` match nothing.
    """
    paths, inputs = layer_paths(model), _few(model, inputs)
    candidates, reasons = _candidates(paths)
    layers = [paths[path] for path in {path: None for path, _ in candidates}]
    selected = {id(each) for each in select_layers(model, targets, layers, purpose="calibrated")}
    products, followers = _first_pass(model, inputs, layers)
    names = {id(layer): path for path, layer in paths.items()}
    found = []
    for (path, name), (variable, axes) in candidates.items():
        layer, key = paths[path], f"{path}:{name}"
        seen = products.get(id(layer), [])
        if id(layer) not in selected:
            reasons[key] = "not among the targets"
        elif not seen:
            reasons[key] = "its layer was not called, or not as a layer of its own"
        else:
            kernel = ObservedKernel(
                path,
                layer,
                variable,
                axes,
                len(seen),
                tuple(seen[0].inputs.shape),
                tuple(seen[0].made.shape),
                offset=None,
                batch_norm=None,
            )
            reason, offset = _checked(kernel, seen[0])
            if reason:
                reasons[key] = reason
            else:
                follower = followers.get(id(layer))
                if follower is not None and _same_units(kernel, follower, seen[0]):
                    kernel = dataclasses.replace(kernel, batch_norm=names[id(follower)])
                found.append(dataclasses.replace(kernel, offset=offset))
    order = {layer: position for position, layer in enumerate(products)}
    found.sort(key=lambda each: order[id(each.layer)])
    return found, reasons


def _few(model: keras.Model, inputs: Any) -> Any:
    """Return the first samples of a batch, or all where the size of the batch is fixed."""
    sizes = [each.shape[0] for each in getattr(model, "inputs", None) or []]
    if any(sizes):
        return inputs
    return keras.tree.map_structure(lambda x: None if x is None else x[:_SAMPLES], inputs)


def _candidates(
    paths: dict[str, keras.layers.Layer],
) -> tuple[dict[tuple[str, str], tuple[keras.Variable, KernelAxes]], dict[str, str]]:
    """Return the kernels of known layers by path and name, and why others are left out."""
    found: dict[tuple[str, str], tuple[keras.Variable, KernelAxes]] = {}
    reasons: dict[str, str] = {}
    holder: dict[int, str] = {}
    for path, layer in paths.items():
        kind = kind_of(layer)
        axes = {} if kind is None else kind.kernels(layer)
        own = own_weights(layer)
        missing = axes.keys() - {each.name for each in own}
        # The kernel of a layer inside it, used as its own.
        own += [each for each in layer.weights if each.name in missing]
        for kernel in describe(own, [layer]):
            name, variable = kernel.variable.name, kernel.variable
            if kernel.never and "depthwise" not in (kernel.skip_reason or ""):
                continue
            key = f"{path}:{name}"
            if id(variable) in holder:
                # One variable in two layers: what suits one of them need not suit the other.
                other = holder[id(variable)]
                reasons[key] = f"its kernel is shared with {other}"
                for each in [each for each in found if f"{each[0]}:{each[1]}" == other]:
                    reasons[other] = f"its kernel is shared with {key}"
                    del found[each]
                continue
            holder[id(variable)] = key
            if isinstance(layer, STEPWISE) and name not in axes:
                reasons[key] = f"inside {type(layer).__name__}, which calls its layer step by step"
            elif kind is None:
                reasons[key] = (
                    f"the class {type(layer).__name__} is not known. Describe it with "
                    "`keras_sac.register_layer`"
                )
            elif name not in axes:
                continue  # no kernel, such as the basis of a SAC layer
            elif kernel.skip_reason:
                reasons[key] = kernel.skip_reason
            elif kernel.locked:
                reasons[key] = kernel.locked
            else:
                found[path, name] = (variable, axes[name])
    return found, reasons


def _first_pass(
    model: keras.Model, inputs: Any, layers: Sequence[keras.layers.Layer]
) -> tuple[dict[int, list[Product]], dict[int, keras.layers.Layer]]:
    """Return the products by the `id` of their layer, and the batch normalization after each."""
    products: dict[int, list[Product]] = {}
    # For each tensor that a layer returns: who receives it.
    made: list[tuple[Any, int]] = []
    receivers: dict[int, list[keras.layers.Layer]] = {}

    def see(product: Product) -> None:
        products.setdefault(id(product.layer), []).append(product)
        if product.made is product.outputs:  # no activation comes between
            made.append((product.made, id(product.layer)))

    def see_call(call: Call) -> None:
        for tensor in keras.tree.flatten(call.arguments):
            for known, layer in made:
                if tensor is known and not isinstance(call.layer, keras.Model):
                    receivers.setdefault(layer, []).append(call.layer)

    see_products(model, inputs, layers, see, see_call=see_call)
    followers = {
        layer: found[0]
        for layer, found in receivers.items()
        if len(found) == 1
        and isinstance(found[0], keras.layers.BatchNormalization)
        and len(products[layer]) == 1
    }
    return products, _only_receivers(model, inputs, layers, followers)


def _only_receivers(
    model: keras.Model,
    inputs: Any,
    layers: Sequence[keras.layers.Layer],
    followers: dict[int, keras.layers.Layer],
) -> dict[int, keras.layers.Layer]:
    """Return those batch normalizations that receive all there is of the outputs before them.

    Operations between layers, such as the sum of a residual connection, cannot be watched. So a
    constant is added to the outputs and to the moving mean: the model must not notice.
    """

    def outputs(shifted: set[int]) -> list[np.ndarray]:
        seen = watched_products(
            model, layers, lambda _: None, shift=lambda layer, x: x + (id(layer) in shifted)
        )
        with _backend.without_gradients(), seen:
            for norm in [followers[each] for each in shifted]:
                norm.moving_mean.assign(norm.moving_mean + 1.0)
            found = model(inputs, training=False)
        return [as_floats(each) for each in keras.tree.flatten(found)]

    def unnoticed(shifted: set[int]) -> bool:
        return all(
            np.abs(new - old).max(initial=0.0) <= _TOLERANCE * np.abs(old).max(initial=0.0)
            for new, old in zip(outputs(shifted), original, strict=True)
        )

    def passing(group: list[int]) -> list[int]:
        """Return the members of a group that pass; halves are tried where not all of them do."""
        if unnoticed(set(group)):
            return group
        half = len(group) // 2
        return [*passing(group[:half]), *passing(group[half:])] if half else []

    if not followers:
        return {}
    original = outputs(set())
    return {layer: followers[layer] for layer in passing(list(followers))}


def _same_units(kernel: ObservedKernel, norm: Any, product: Product) -> bool:
    """Return whether a batch normalization has an entry for each unit of a kernel."""
    if product.outputs is None or product.outputs.shape[norm.axis] != kernel.units:
        return False
    channels = np.moveaxis(as_floats(product.outputs), norm.axis, -1).reshape(-1, kernel.units)
    return np.array_equal(channels, kernel.output_rows(product.outputs))


def _checked(kernel: ObservedKernel, product: Product) -> tuple[str, np.ndarray | None]:
    """Return why the rows of a kernel are not known, and what its layer adds to the product."""
    recurrent = isinstance(kernel.layer, keras.layers.RNN) and kernel.variable.name != "kernel"
    if recurrent and (product.further or kernel.layer.stateful):
        return "it starts from states that another call has left", None
    known = kernel.kind.chosen_rows(
        kernel.layer,
        as_floats(product.inputs),
        product.mask,
        lambda count: np.arange(min(count, _CHECKED_ROWS)),
    )
    if kernel.variable.name not in known:
        return "the table of layer classes does not say how its inputs are read as rows", None
    rows = known[kernel.variable.name]
    rows = rows if rows.ndim == 3 else rows[None]
    matrices = kernel.matrices()
    if rows.shape[::2] != matrices.shape[:2]:
        return f"its rows have the shape {rows.shape}, and its kernel {matrices.shape}", None
    if product.outputs is None:
        return "", None
    outputs = kernel.output_rows(product.outputs)[:_CHECKED_ROWS]
    made = np.moveaxis(rows @ matrices, 0, 1).reshape(rows.shape[1], -1)
    if made.shape != outputs.shape:
        return "", None
    # What remains is the bias, the same in all rows.
    rest = outputs - made
    scale = float(np.abs(outputs).max(initial=0.0)) or 1.0
    same = np.abs(rest - rest[0]).max(initial=0.0) <= _TOLERANCE * scale
    return "", rest.mean(axis=0).astype(np.float32) if same else None


def _numbers(count: int, mask: Any, choose: Choose | None = None) -> np.ndarray:
    """Return the numbers of rows whose positions a mask does not hide, or a choice of these."""
    kept = np.arange(count)
    if mask is not None:
        flat = keras.ops.convert_to_numpy(mask).astype(bool).reshape(-1)
        if len(flat) == count:
            kept = np.flatnonzero(flat)
    return kept if choose is None else kept[choose(len(kept))]
