"""Products of activations that read and write their matrices where these lie.

    matmul(permute_dims(q), permute_dims(k))  =>  one kernel on q and k
    permute_dims(epilogue(matmul(p, v)))      =>  one kernel on p and v

The heads of an attention lie side by side in the rows that the products around it give and take:
what a model writes as permutations are distances in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from hago.codegen.workload import BatchMatmul, Permute, Strides
from hago.lower.anchor import find_anchor
from hago.lower.group import Group
from hago.lower.view import View

Takes = Callable[[BatchMatmul], bool]


def in_place(groups: Iterable[Group], view: View, takes: Takes) -> tuple[Group, ...]:
    """``groups`` with permutations folded into those products that ``takes`` says a kernel
    computes, and without what nobody reads then."""
    found = [_written(_read(group, view, takes), view, takes) for group in groups]
    folded = {name for group in found for name in group.members - {group.anchor}}
    return tuple(group for group in found if group.anchor not in folded)


def _read(group: Group, view: View, takes: Takes) -> Group:
    """``group`` with the permutations of operands that it alone reads as strides."""
    for number, name in enumerate(group.data[:2]):
        work, permute = group.workload, _permutation(view, name)
        if not isinstance(work, BatchMatmul) or permute is None or not isinstance(name, str):
            continue
        if view.users[name] != {group.anchor}:  # it has to be in memory for the others
            continue
        steps = [permute.stride(axis) for axis in permute.axes]
        strides = strides_of(permute.output_shape, steps)
        strided = replace(work, right=strides) if number else replace(work, left=strides)
        if strides is None or not takes(strided):
            continue
        data = list(group.data)
        data[number] = view.nodes[name].inputs[0]
        members = group.members | {name}
        group = replace(group, workload=strided, data=tuple(data), members=members)
    return group


def _written(group: Group, view: View, takes: Takes) -> Group:
    """``group`` with the permutation that alone reads its result as strides."""
    work, readers = group.workload, view.users.get(group.output, frozenset())
    (name,) = readers if len(readers) == 1 else (None,)
    permute = _permutation(view, name)
    if not isinstance(work, BatchMatmul) or permute is None or name is None:
        return group
    shape = permute.output_shape
    below = [math.prod(shape[position + 1 :]) for position in range(len(shape))]
    steps = [below[permute.axes.index(axis)] for axis in range(len(shape))]
    strides = strides_of(permute.shape, steps)
    strided = replace(work, output=strides)
    if strides is None or not takes(strided):
        return group
    members = group.members | {name}
    return replace(
        group, workload=strided, output=name, shape=strided.output_memory, members=members
    )


def _permutation(view: View, name: object) -> Permute | None:
    """The permutation that ``name`` is."""
    node = view.node(name) if isinstance(name, str) else None
    if node is None or node.op != "permute_dims":
        return None
    anchor = find_anchor(view, node)
    return anchor.workload if anchor and isinstance(anchor.workload, Permute) else None


def strides_of(extents: Sequence[int], steps: Sequence[int]) -> Strides | None:
    """Matrices of ``extents`` [.., rows, columns] whose neighbours along each axis are ``steps``
    elements apart; None where the axes in front are more than images and heads."""
    *_, row, column = steps
    outer: list[tuple[int, int]] = []
    for extent, step in zip(extents[:-2], steps[:-2], strict=True):
        if extent == 1:
            continue
        if outer and outer[-1][1] == extent * step:  # one axis, in memory
            outer[-1] = (outer[-1][0] * extent, step)
        else:
            outer.append((extent, step))
    if len(outer) > 2:
        return None
    (_, image), (heads, head) = [(1, 0), (1, 0), *outer][-2:]
    return Strides(heads, image, head, row, column)
