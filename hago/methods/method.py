"""The shape that every published method has, and the registry that finds them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import entry_points
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from tvm.ir import IRModule

from hago.annotate.narrow import WeightFormat
from hago.calibrate import Stats
from hago.calibrate.channels import Channels
from hago.calibrate.moments import Moments
from hago.errors import StrategyError
from hago.graph import QuantGraph, QuantModel
from hago.methods.options import with_options
from hago.methods.syntax import Step, parse_steps
from hago.sample import did_you_mean


class Method(Protocol):
    """One published method: its options are its fields."""

    name: ClassVar[str]
    paper: ClassVar[str]

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with better numbers."""


class BeforeNumbers:
    """A method that changes the float module alone: when there are numbers, all is done."""

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` as it is."""
        return model


@runtime_checkable
class Reshaping(Protocol):
    """A method that changes the float module first, by what it sees of the channels."""

    def tensors(self, graph: QuantGraph) -> tuple[str, ...]:
        """The tensors whose channels it wants to see; none if there is nothing to do."""

    def reshape(self, graph: QuantGraph, channels: Channels, weights: WeightFormat) -> IRModule:
        """A prepared module that computes the same over the real numbers. ``weights`` is what
        they will be."""


@runtime_checkable
class Widening(Protocol):
    """A method that changes the float module first, by what each product reads."""

    def widen(self, graph: QuantGraph, moments: Moments, weights: WeightFormat) -> IRModule:
        """A prepared module that computes the same over the real numbers. ``moments`` are those of
        what products read, by name; ``weights`` is what they will be."""


def needs_of(methods: Iterable[Method]) -> frozenset[str]:
    """What ``methods`` need beside ranges, by their ``needs``: "moments" is all there is."""
    return frozenset().union(*(getattr(method, "needs", ()) for method in methods))


@runtime_checkable
class Positioned(Protocol):
    """A method that looks at the positions of tensors, see ``hago.calibrate.positions``."""

    def positions(self, graph: QuantGraph) -> tuple[str, ...]:
        """The tensors whose positions it wants to see."""


def positions_of(methods: Iterable[Method], graph: QuantGraph) -> frozenset[str]:
    """The tensors whose positions ``methods`` look at."""
    looking = [method for method in methods if isinstance(method, Positioned)]
    return frozenset(name for method in looking for name in method.positions(graph))


def keeps_function(method: Method) -> bool:
    """Whether the module that ``method`` leaves computes the same over the real numbers."""
    return bool(getattr(method, "keeps_function", False))


def corrects(method: Method) -> bool:
    """Whether ``method`` takes out what the quantized layers before make of a result, and so can be
    applied again where some of them were given other precisions."""
    return bool(getattr(method, "corrects", False))


def extra_of(method: object) -> str:
    """The package beside hago's own that a method (or its class) needs, by its ``extra``."""
    return str(getattr(method, "extra", ""))


M = TypeVar("M", bound=Method)
_REGISTRY: dict[str, Callable[[], Method]] = {}


def register(method: type[M]) -> type[M]:
    """Class decorator: makes a method known by its ``name``."""
    _REGISTRY[method.name] = method
    return method


@cache
def known_methods() -> dict[str, Callable[[], Method]]:
    """Every method of this folder and of the entry point ``hago.methods``, by name."""
    package = importlib.import_module("hago.methods")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"hago.methods.{module.name}")
    for entry in entry_points(group="hago.methods"):
        register(entry.load())
    return _REGISTRY


def find_methods(recipe: str | Iterable[str]) -> tuple[Method, ...]:
    """The methods that ``recipe`` names, in order, with their options.

    Raises StrategyError for what cannot be read, an unknown method, and an unknown or wrong option.
    """
    return tuple(find_method(step) for step in parse_steps(recipe))


def find_method(step: Step) -> Method:
    """The method of a step, with its options; case and underscores of its name do not matter."""
    known = known_methods()
    name = {_folded(each): each for each in known}.get(_folded(step.name))
    if name is None:
        raise StrategyError(
            f"no method '{step.name}'{did_you_mean(step.name, known)}",
            fact=f"hago knows {', '.join(sorted(known))}",
            source="hago/methods",
            way_out="Give one of these, or install a package that provides it.",
        )
    return with_options(known[name], name, step.options)


def _folded(name: str) -> str:
    """Papers write AdaRound, files ada_round."""
    return name.replace("_", "").lower()
