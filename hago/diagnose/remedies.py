"""Which method would mend a rounding, by the facts that make it likely: a table of rules.

A rule is a fact in words, or nothing where it does not hold. Its methods are told in order, those
aside that the recipe has already; a rule without any left says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hago.diagnose.case import Case, is_per_tensor
from hago.methods.method import known_methods

_WORTH_DB = 1.0  # of a tensor's own SQNR: less is lost in the noise of the others
_CHANNEL_DB = 3.0  # a reshaping costs the other operand, so half of the noise must be to win
_CONSTANT = 0.25  # share of the error's power from which on a shift is worth a bias
_FEW = 49  # weights of a channel: up to depthwise 7x7
_NARROW = 0.25  # share of the grid that the bulk fills, below which the tail decides the step


@dataclass(frozen=True)
class Remedy:
    """``methods`` that would mend an edge, the first choice first, and the fact that says so."""

    methods: tuple[str, ...]
    fact: str


@dataclass(frozen=True)
class Rule:
    """``methods`` (given a case) help where ``fact`` has something to say."""

    methods: Callable[[Case], tuple[str, ...]]
    fact: Callable[[Case], str]


def remedies_of(case: Case, applied: Iterable[str]) -> tuple[Remedy, ...]:
    """What would mend ``case``, the likeliest first, beside the methods that are ``applied``."""
    known, done = set(known_methods()), set(applied)
    found = []
    for rule in RULES:
        fact = rule.fact(case)
        methods = tuple(m for m in rule.methods(case) if m in known and m not in done)
        if fact and methods:
            found.append(Remedy(methods, fact))
    return tuple(found)


def _of(*names: str) -> Callable[[Case], tuple[str, ...]]:
    return lambda case: names


def _range_methods(case: Case) -> tuple[str, ...]:
    return () if case.better_range is None else (case.better_range[0],)


def _rounding_methods(case: Case) -> tuple[str, ...]:
    """The order of their results on EfficientNet-Lite0 and MiniLM with 4-bit weights."""
    if case.reader is not None and case.reader.op == "matmul":
        return ("gptaq", "gptq", "obc")
    return ("gptaq", "brecq", "ada_round", "ada_quant", "obc")


def _clipping(case: Case) -> str:
    if case.is_weight or case.better_range is None or case.fit.clipped_noise < 0.5:
        return ""
    name, better = case.better_range
    if better < case.fit.sqnr_db + _WORTH_DB:
        return ""
    return (
        f"{_share(case.fit.clipped)} of the values are clipped, which makes "
        f"{case.fit.clipped_noise:.0%} of the error: {name} gives the tensor {better:.1f} dB "
        f"instead of {case.fit.sqnr_db:.1f}"
    )


def _tail(case: Case) -> str:
    if case.is_weight or case.better_range is None or case.fit.clipped_noise >= 0.5:
        return ""
    name, better = case.better_range
    if better < case.fit.sqnr_db + _WORTH_DB:
        return ""
    return (
        f"99.9% of the values fill {case.fit.bulk:.0%} of the grid: {name} gives the tensor "
        f"{better:.1f} dB instead of {case.fit.sqnr_db:.1f}"
    )


def _long_tail(case: Case) -> str:
    """By its own SQNR a tensor wants no clipping; what reads it may not need its largest values."""
    if case.is_weight or case.better_range is None or case.fit.bulk >= _NARROW or _tail(case):
        return ""
    return (
        f"99.9% of the values fill {case.fit.bulk:.1%} of the grid: the tail decides its step, and "
        "may not matter to the outputs"
    )


def _outlying_channels(case: Case) -> str:
    spread = case.spread
    if case.is_weight or spread is None or not spread.outliers or spread.gain_db < _CHANNEL_DB:
        return ""
    return (
        f"{spread.outliers} of {spread.channels} channels stand out: the largest reaches "
        f"{spread.ratio:.0f} times the median; channels scaled alike would gain up to "
        f"{spread.gain_db:.1f} dB"
    )


def _uneven_weight(case: Case) -> str:
    spread = case.spread
    if not case.is_weight or spread is None or spread.gain_db < _CHANNEL_DB:
        return ""
    which = "output" if is_per_tensor(case.scheme) else "input"
    return (
        f"its {which} channels differ: the largest reaches {spread.ratio:.0f} times the median of "
        f"{spread.channels}; scaled alike they would gain up to {spread.gain_db:.1f} dB"
    )


def _few_codes(case: Case) -> str:
    bits = case.scheme.dtype.bits
    if not case.is_weight or bits > 6:
        return ""
    return f"weights of {bits} bits have {2**bits} codes: {case.fit.sqnr_db:.1f} dB of their own"


def _wide_weight(case: Case) -> str:
    if not case.is_weight or case.scheme.dtype.bits > 6 or case.fit.clipped > 0:
        return ""
    if max(-case.fit.seen_low, case.fit.seen_high) < case.fit.high - case.fit.step / 2:
        return ""
    return f"the scale of {case.scheme.dtype.bits} bits covers the largest weight: none is clipped"


def _few_weights(case: Case) -> str:
    """A channel of few weights has a scale at which they all fall near codes (weight_output)."""
    if not case.is_weight or case.reader is None or case.fit.noise == 0:
        return ""
    weight = case.reader.constants[case.edge.arg]
    each = weight[0].size if weight.ndim == 4 else weight.shape[0]
    if each > _FEW:
        return ""
    return (
        f"a channel has {each} weight{'s' if each > 1 else ''}: among the scales near its own "
        "there are some at which all of them fall near codes"
    )


def _nearest(case: Case) -> str:
    if not case.is_weight or not case.nearest or case.scheme.dtype.bits <= 6:
        return ""
    return "it is rounded to nearest, without regard to what it multiplies"


def _shifted(case: Case) -> str:
    if case.shift < _CONSTANT:
        return ""
    return f"about {case.shift:.0%} of the error that it makes is a constant shift of its outputs"


RULES: Sequence[Rule] = (
    Rule(_range_methods, _clipping),
    Rule(_of("os_plus", "channel_splitting", "smooth_quant"), _outlying_channels),
    Rule(_range_methods, _tail),
    Rule(_of("percentile", "lapq", "kl"), _long_tail),
    Rule(_of("weight_output", "weight_mse"), _wide_weight),
    Rule(_of("weight_output"), _few_weights),
    Rule(_rounding_methods, _few_codes),
    Rule(_of("obc"), _nearest),
    Rule(_of("bias_correction"), _shifted),
    Rule(_of("equalize"), _uneven_weight),
)


def _share(value: float) -> str:
    return f"{value:.1%}" if value >= 1e-3 else f"{value * 100:.2g}%"
