"""Which axes of a reshape's input become which of its output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Group = tuple[list[int], list[int]]


def axis_groups(before: Sequence[int], after: Sequence[int]) -> Iterator[Group]:
    """Smallest runs of axes with equal products, in order; (input axes, output axes).

    A unit axis that comes or goes is a group alone, with nothing on the other side.
    """
    i = j = 0
    while i < len(before) or j < len(after):
        drops = i < len(before) and before[i] == 1
        inserts = j < len(after) and after[j] == 1
        if drops and not inserts:
            yield [i], []
            i += 1
        elif inserts and not drops:
            yield [], [j]
            j += 1
        else:
            group = _equal_products(before, after, i, j)
            yield group
            i, j = i + len(group[0]), j + len(group[1])


def _equal_products(before: Sequence[int], after: Sequence[int], i: int, j: int) -> Group:
    left, right = before[i], after[j]
    inputs, outputs = [i], [j]
    while left != right:
        if left < right:
            inputs.append(inputs[-1] + 1)
            left *= before[inputs[-1]]
        else:
            outputs.append(outputs[-1] + 1)
            right *= after[outputs[-1]]
    return inputs, outputs
