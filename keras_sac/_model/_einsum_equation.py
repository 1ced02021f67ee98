"""Parse the equation of an einsum layer: which axes it contracts, and which it makes."""

import dataclasses
import re
from collections.abc import Sequence

_FORM = re.compile(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?")

_LETTERS = "rzyxwvutsqponmlkjihgfedcbaRZYXWVUTSQ"


@dataclasses.dataclass(frozen=True)
class EinsumEquation:
    """The equation of an `EinsumDense` kernel that factors into basis and learner.

    `inputs,kernel->outputs`: labels of the kernel that are in the inputs only are contracted and
    become the basis' rows; labels that are in the outputs only are made by the learner.

    Args:
        inputs: labels of the input without the ellipsis.
        kernel: labels of the kernel.
        outputs: labels of the output without the ellipsis.
        ellipsis: `"left"`, `"right"` or `""`.
    """

    inputs: str
    kernel: str
    outputs: str
    ellipsis: str

    @classmethod
    def read(cls, equation: str) -> "EinsumEquation":
        """Read the equation of any `keras.layers.EinsumDense`.

        Raises:
            ValueError: if it has none of the three forms.
        """
        left, inputs, right, kernel, _, outputs, _ = _parts(equation)
        return cls(inputs, kernel, outputs, "left" if left else "right" if right else "")

    @classmethod
    def parse(cls, equation: str) -> "EinsumEquation":
        """Read an equation whose kernel factors into basis and learner.

        Raises:
            ValueError: if the equation is invalid, or its kernel does not factor.
        """
        self = cls.read(equation)
        left, _, right, _, out_left, _, out_right = _parts(equation)
        if (left, right) != (out_left, out_right) or (left and right):
            raise ValueError(
                "`equation` must have the ellipsis on the same side of input and output, and on "
                f"one side only. Received: {equation!r}"
            )
        for labels in (self.inputs, self.kernel, self.outputs):
            if len(set(labels)) != len(labels):
                raise ValueError(
                    f"`equation` must not repeat a label. Received: {equation!r}, which repeats "
                    f"one in {labels!r}"
                )
        if self.shared:
            raise ValueError(
                f"The kernel of {equation!r} has an axis of its own for every index of "
                f"{', '.join(map(repr, self.shared))} (in input, kernel and output): such a kernel "
                "has no single basis. Use `keras.layers.EinsumDense`."
            )
        unknown = set(self.kernel) ^ set(self.contracted + self.made)
        unknown |= set(self.inputs + self.outputs) - set(self.kernel) - set(self.kept)
        if unknown or not self.contracted or not self.made:
            raise ValueError(
                "Each label of the kernel must be in the input or in the output, with at least one "
                "of each, and each other label in input and output. Received: "
                f"equation={equation!r}"
            )
        return self

    @property
    def shared(self) -> list[str]:
        """Labels in input, kernel and output: the kernel is another one at each of their places."""
        return sorted(set(self.kernel) & set(self.inputs) & set(self.outputs))

    @property
    def contracted(self) -> str:
        """Labels that are summed over, in the kernel's order."""
        return "".join(c for c in self.kernel if c in self.inputs and c not in self.outputs)

    @property
    def made(self) -> str:
        """Labels that the layer makes, in the kernel's order."""
        return "".join(c for c in self.kernel if c in self.outputs and c not in self.inputs)

    @property
    def kept(self) -> str:
        """Labels of the input that pass through, in the input's order."""
        return "".join(c for c in self.inputs if c in self.outputs)

    def project_equation(self) -> str:
        """Return the equation of `x B`, the rank being the last axis of the result."""
        rank = self._free_label()
        inputs, kept = self._dots(self.inputs), self._dots(self.kept)
        return f"{inputs},{self.contracted}{rank}->{kept}{rank}"

    def combine_equation(self) -> str:
        """Return the equation of `z L`."""
        rank = self._free_label()
        outputs = self._dots(self.outputs)
        return f"{self._dots(self.kept)}{rank},{rank}{self.made}->{outputs}"

    def elided(self, ndim: int) -> int:
        """Return how many axes of an input with `ndim` axes the ellipsis stands for."""
        elided = ndim - len(self.inputs)
        if elided < 0 or (elided > 0 and not self.ellipsis):
            at_least = "at least " if self.ellipsis else ""
            raise ValueError(
                f"The equation {self.inputs!r},{self.kernel!r}->{self.outputs!r} needs inputs "
                f"with {at_least}{len(self.inputs)} axes. Received: {ndim} axes"
            )
        return elided

    def input_axes(self, labels: str, ndim: int) -> tuple[int, ...]:
        """Return the positions of `labels` in an input with `ndim` axes."""
        elided = self.elided(ndim)
        start = elided if self.ellipsis == "left" else 0
        return tuple(start + self.inputs.index(label) for label in labels)

    def output_sizes(self, output_shape: int | Sequence[int | None]) -> dict[str, int | None]:
        """Return the size of each output label from the layer's `output_shape` argument.

        As in `keras.layers.EinsumDense`: the shape has no batch axis and none for the ellipsis.
        """
        shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        labels = self.outputs if self.ellipsis == "left" else self.outputs[1:]
        if len(shape) != len(labels):
            raise ValueError(
                f"`output_shape` must have one entry for each of the labels {labels!r} of the "
                f"output (no batch axis, none for '...'). Received: {output_shape!r}"
            )
        return dict(zip(labels, shape, strict=True))

    def spelled_out(self, equation: str, ndim: int) -> str:
        """Return an equation of this one with letters for the ellipsis.

        TensorFlow 2.21 computes an ellipsis with a broadcasting product, which oneDNN gets wrong in
        half precision on some CPUs, and letters with a plain product.

        Args:
            equation: of two operands, the first with the ellipsis.
            ndim: number of axes of the first operand.
        """
        elided = ndim - len(equation.split(",")[0].replace("...", ""))
        free = [c for c in _LETTERS if c not in equation]
        return equation.replace("...", "".join(free[:elided]))

    def _dots(self, labels: str) -> str:
        if self.ellipsis == "left":
            return f"...{labels}"
        return f"{labels}..." if self.ellipsis == "right" else labels

    def _free_label(self) -> str:
        used = set(self.inputs + self.kernel + self.outputs)
        return next(c for c in _LETTERS if c not in used)


def _parts(equation: str) -> tuple[str, ...]:
    """Return the parts of an equation: `...`, inputs, `...`, kernel, `...`, outputs, `...`."""
    match = _FORM.fullmatch(equation.replace(" ", ""))
    if match is None:
        raise ValueError(
            "`equation` must have the form '[X],[Y]->[Z]', '...[X],[Y]->...[Z]' or "
            f"'[X]...,[Y]->[Z]...' with letters for X, Y and Z. Received: {equation!r}"
        )
    return match.groups()
