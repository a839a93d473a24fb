"""Attentions whose four kernels become one, so that the scores do not leave the cache.

    scores = batch_matmul(q, k)         powers = shifted_exp(scores)
    totals = sum(powers)                contexts = batch_matmul(powers, v) / totals
        =>  contexts = attention(q, k, v)

These are groups with their epilogues: a scale, a mask or codes between them change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from hago.codegen.workload import Attention, BatchMatmul, RowReduce
from hago.lower.anchor import inner_of_exp
from hago.lower.expression import Source
from hago.lower.group import Group, is_inlined
from hago.lower.view import View

Supports = Callable[[Attention], bool]


def fuse_attentions(
    groups: Iterable[Group], view: View, supports: Supports
) -> tuple[Group, ...]:
    """``groups`` with one in place of the four of each attention that a kernel ``supports``."""
    groups = tuple(groups)
    by_output = {group.output: group for group in groups}
    found: dict[str, Group | None] = {}
    for group in groups:
        parts = _parts(group, by_output, view)
        work = None if parts is None else parts.workload()
        if parts is not None and work is not None and supports(work):
            gone = (parts.scores, parts.powers, parts.totals)
            found.update({part.output: None for part in gone})
            found[group.output] = parts.group(work)
    kept = (found.get(group.output, group) for group in groups)
    return tuple(group for group in kept if group is not None)


@dataclass(frozen=True, eq=False)
class _Parts:
    """The four groups of an attention."""

    scores: Group
    powers: Group
    totals: Group
    contexts: Group

    def workload(self) -> Attention | None:
        """What they compute; None where something lies between them."""
        works = [g.workload for g in (self.scores, self.powers, self.totals, self.contexts)]
        match works:
            case [
                BatchMatmul(output=None) as scores,
                RowReduce() as powers,
                RowReduce() as totals,
                BatchMatmul(left=None) as contexts,
            ] if scores.batch == contexts.batch:
                before = (self.scores.epilogue, self.powers.epilogue, self.totals.epilogue)
                return Attention(scores, powers, totals, contexts, before, self._total())
        return None

    def group(self, work: Attention) -> Group:
        """One that computes ``work`` in place of them."""
        before = (self.scores, self.powers, self.totals)
        rest = list(self.contexts.operands)
        del rest[work.total]
        return replace(
            self.contexts,
            workload=work,
            data=(*self.scores.data, self.contexts.data[1]),
            operands=(*(each for group in before for each in group.operands), *rest),
            members=self.contexts.members.union(*(group.members for group in before)),
        )

    def _total(self) -> int:
        """The number of the operand of contexts that totals are."""
        (number,) = (
            n for n, source in enumerate(self.contexts.operands)
            if isinstance(source, str) and source == self.totals.output
        )  # fmt: skip
        return number


def _parts(contexts: Group, by_output: Mapping[str, Group], view: View) -> _Parts | None:
    """The attention that ends with ``contexts``, if nobody else reads what is inside of it."""
    powers = _group(contexts.data[0], by_output)
    if powers is None or not _is(powers, "shifted_exp"):
        return None
    scores = _group(powers.data[0], by_output)
    read = [_group(each, by_output) for each in contexts.operands]
    sums = [group for group in read if group is not None and _is(group, "sum")]
    totals = next((each for each in sums if each.data[0] == powers.output), None)
    if scores is None or totals is None:
        return None
    inner = inner_of_exp(view, view.nodes[powers.anchor])
    assert inner is not None, powers.anchor
    is_closed = (
        _is_read_by(view, scores.output, frozenset(inner.members))
        and _is_read_by(view, powers.output, totals.members | contexts.members)
        and _is_read_by(view, totals.output, contexts.members)
    )
    return _Parts(scores, powers, totals, contexts) if is_closed else None


def _group(source: Source, by_output: Mapping[str, Group]) -> Group | None:
    return by_output.get(source) if isinstance(source, str) else None


def _is(group: Group, kind: str) -> bool:
    return isinstance(group.workload, RowReduce) and group.workload.kind == kind


def _is_read_by(view: View, name: str, readers: frozenset[str]) -> bool:
    """Whether no other operation reads ``name``, nor what each reader of it computes for itself."""
    for user in view.users.get(name, frozenset()) - readers:
        node = view.node(user)
        if node is None or not is_inlined(view, node) or not _is_read_by(view, user, readers):
            return False
    return True
