"""What a diagnosis tells: frozen data with a JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hago.diagnose.remedies import Remedy
from hago.report import Json, RecipeReport, plain_dataclass


@dataclass(frozen=True)
class Bars:
    """A histogram: ``counts`` of values in bins of one width from ``start`` on.

    For weights the unit is the step of their channel.
    """

    start: float
    width: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class EdgeDiagnosis:
    """One rounding of the quantized model.

    ``own_db`` is the SQNR of the tensor itself, ``alone_db`` that of the model's outputs with
    nothing else rounded, ``together_db`` with this and all before it. ``share`` is its part of the
    noise of all roundings alone. ``readers`` are the other edges that read the same codes.
    ``clipped`` is the share of values beyond the grid from ``low`` to ``high``, ``clipped_noise``
    their share of its own noise, ``bulk`` the share of the grid that holds 99.9% of the values.
    The numbers of weights are in steps of their channel.
    """

    edge: str
    scheme: str
    is_weight: bool
    own_db: float
    alone_db: float
    together_db: float
    share: float
    clipped: float
    clipped_noise: float
    low: float
    high: float
    seen_low: float
    seen_high: float
    step: float
    bulk: float
    remedies: tuple[Remedy, ...]
    readers: tuple[str, ...]
    bars: Bars


@dataclass(frozen=True)
class Mend:
    """What a method would mend: as the first choice of so many edges, with their part of the
    noise."""

    method: str
    edges: int
    share: float


@dataclass(frozen=True)
class Lifted:
    """The SQNR of the outputs with the ``count`` worst edges left in float32."""

    count: int
    sqnr_db: float


@dataclass(frozen=True)
class Diagnosis:
    """``edges`` in program order; ``accuracy`` is that of all of them rounded, against float32."""

    model: str
    hardware: str
    samples: int
    accuracy: Mapping[str, float]
    edges: tuple[EdgeDiagnosis, ...]
    lifted: tuple[Lifted, ...]
    recipe: RecipeReport | None
    seconds: Mapping[str, float] = field(default_factory=dict)

    def worst(self, count: int) -> tuple[EdgeDiagnosis, ...]:
        """The ``count`` edges that cost the outputs most, the worst first."""
        return tuple(sorted(self.edges, key=lambda edge: edge.alone_db)[:count])

    @property
    def mends(self) -> tuple[Mend, ...]:
        """The methods by the noise of the edges whose first choice they are."""
        return mends_of(self.edges)

    def to_json(self) -> dict[str, Json]:
        mends: list[Json] = [plain_dataclass(mend) for mend in self.mends]
        worst: list[Json] = [edge.edge for edge in self.worst(len(self.edges))]
        return {**plain_dataclass(self), "mends": mends, "worst": worst}


def mends_of(edges: Sequence[EdgeDiagnosis]) -> tuple[Mend, ...]:
    """The methods that ``edges`` ask for, the one that most of the noise asks for first."""
    found: dict[str, list[float]] = {}
    for edge in edges:
        for remedy in edge.remedies[:1]:
            found.setdefault(remedy.methods[0], []).append(edge.share)
    mends = (Mend(method, len(shares), sum(shares)) for method, shares in found.items())
    return tuple(sorted(mends, key=lambda mend: -mend.share))
