"""The options of every verb that quantizes a model, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING

from hago.cli.options import (
    ActivationBits,
    NarrowEnds,
    Recipe,
    Shapes,
    WeightBits,
    WeightGroup,
    parse_shapes,
)

if TYPE_CHECKING:
    from hago.annotate.narrow import WeightFormat
    from hago.annotate.narrow_activations import ActivationFormat


@dataclass(frozen=True)
class Quantization:
    """What was given; each field is an option."""

    recipe: Recipe = None
    shape: Shapes = None
    weight_bits: WeightBits = 8
    weight_group: WeightGroup = None
    activation_bits: ActivationBits = 8
    narrow_ends: NarrowEnds = False

    @property
    def methods(self) -> str | tuple[str, ...]:
        """The recipe, or the one that is taken without any."""
        from hago.pipeline import DEFAULT_RECIPE

        return DEFAULT_RECIPE if self.recipe is None else self.recipe

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Those of inputs by name. Raises UsageError."""
        return parse_shapes(self.shape)

    @property
    def weights(self) -> WeightFormat:
        """Raises StrategyError for bits and groups that there are not."""
        from hago.annotate.narrow import WeightFormat

        return WeightFormat(self.weight_bits, self.weight_group, self.narrow_ends)

    @property
    def activations(self) -> ActivationFormat:
        """Raises StrategyError for bits that there are not."""
        from hago.annotate.narrow_activations import ActivationFormat

        return ActivationFormat(self.activation_bits, self.narrow_ends)


def takes_quantization(verb: Callable[..., None]) -> Callable[..., None]:
    """``verb`` with the options of :class:`Quantization` for its parameter ``quantization``, as the
    command line sees it."""
    own = inspect.signature(verb, eval_str=True)
    options = inspect.signature(Quantization, eval_str=True).parameters

    @wraps(verb)
    def called(**given: object) -> None:
        chosen = {name: given.pop(name) for name in options}
        verb(quantization=Quantization(**chosen), **given)  # type: ignore[arg-type]  # typer checks

    seen = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in own.parameters.items()
        for each in (options.values() if name == "quantization" else [parameter])
    ]
    called.__signature__ = own.replace(parameters=seen)  # type: ignore[attr-defined]
    return called
