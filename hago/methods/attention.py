"""Attention in a prepared module: which channels of its layers meet in its products.

    softmax(q k^T + mask) v  ->  W        (the softmax as hago/prepare/postpone_division.py has it)

Heads are cut from channels by reshapes and permutations. Where a channel ends up is found by moving
its number as the data is moved, so that any order of axes will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hago.dataflow import Dataflow, Node
from hago.prepare.scale_channels import is_weighted
from hago.shifted_exp import is_sum_of_powers, shifted_exp

Ids = npt.NDArray[np.int64]
_MOVES = frozenset({"reshape", "permute_dims"})
_SHIFTS = frozenset({"add", "subtract"})
_FACTORS = frozenset({"multiply", "divide"})


@dataclass(frozen=True, eq=False)
class Attention:
    """The tensors ``query``, ``key`` and ``value``, the last axis of each being channels.

    Channel ``meets[c]`` of the query is multiplied with channel c of the key. Input channel c of
    ``reader``, a product with constant weights, is made of channel ``carried[c]`` of the value.
    All three come from products with constant weights, and nothing else reads them.
    """

    query: str
    key: str
    value: str
    meets: Ids
    reader: Node
    carried: Ids


def find_attention(dataflow: Dataflow) -> tuple[Attention, ...]:
    """Every attention of ``dataflow`` that has this form."""
    graph = _Graph(dataflow)
    found = (graph.attention(node) for node in dataflow.nodes if node.op == "exp")
    return tuple(each for each in found if each is not None)


class _Graph:
    def __init__(self, dataflow: Dataflow) -> None:
        self.nodes: Mapping[str, Node] = dataflow.by_name()
        self.users = dataflow.users()

    def attention(self, powers: Node) -> Attention | None:
        scores, product = self._scores(powers), self._product(powers)
        if scores is None or product is None:
            return None
        query, key, value = (
            self._channels(name) for name in (*scores.inputs[:2], product.inputs[1])
        )
        if query is None or key is None or value is None:
            return None
        meets = _meeting(_along(query.ids, -2), _along(key.ids, -1))
        output = self._output(product, _along(value.ids, -2))
        if meets is None or output is None:
            return None
        return Attention(query.source, key.source, value.source, meets, *output)

    def _scores(self, powers: Node) -> Node | None:
        """The product of two computed tensors that only the softmax reads, through factors of all
        scores and through masks."""
        inner = shifted_exp(self.nodes, powers)
        if inner is None or {name for name, _ in self.users[inner.source]} != set(inner.members):
            return None
        node = self.nodes.get(inner.source)
        while node is not None and node.op in _SHIFTS | _FACTORS:
            if node.op in _FACTORS and node.constants.get(1, np.ones(2)).size != 1:
                return None
            following = self._alone(node.inputs[0])
            is_whole = following is not None and following.shape == node.shape
            node = following if is_whole else None
        is_product = node is not None and node.op == "matmul" and not node.constants
        return node if is_product else None

    def _product(self, powers: Node) -> Node | None:
        """The product of ``powers`` with a computed tensor, that beside it only their sums read."""
        readers = [self.nodes[name] for name, _ in self.users[powers.name] if name in self.nodes]
        products = [node for node in readers if node.op == "matmul"]
        if len(products) != 1 or len(readers) != 2 or len(self.users[powers.name]) != 2:
            return None
        (product,) = products
        (total,) = (node for node in readers if node is not product)
        is_first = product.inputs[0] == powers.name and not product.constants
        return product if is_first and is_sum_of_powers(self.nodes, total) else None

    def _alone(self, name: str) -> Node | None:
        """The operation ``name``, if there is but one reader."""
        return self.nodes.get(name) if len(self.users.get(name, ())) == 1 else None

    def _reader(self, node: Node) -> Node | None:
        """The only reader of ``node``."""
        users = self.users.get(node.name, [])
        return self.nodes.get(users[0][0]) if len(users) == 1 else None

    def _channels(self, name: str) -> _Channels | None:
        """Where the channels of the layer behind the moved tensor ``name`` are in it."""
        moves: list[Node] = []
        node = self._alone(name)
        while node is not None and node.op in _MOVES:
            moves.append(node)
            node = self._alone(node.inputs[0])
        if node is None or not self._is_layer(node):
            return None
        ids = np.broadcast_to(np.arange(node.shape[-1]), node.shape)
        for move in reversed(moves):
            ids = _moved(ids, move)
        return _Channels(node.name, ids)

    def _is_layer(self, node: Node) -> bool:
        """Whether ``node`` is a product with constant weights, or that with its bias."""
        if node.op == "add" and 1 in node.constants:
            inner = self._alone(node.inputs[0])
            return inner is not None and inner.shape == node.shape and is_weighted(inner)
        return is_weighted(node)

    def _output(self, product: Node, channels: Ids | None) -> tuple[Node, Ids] | None:
        """The layer that reads the divided ``product``, and the channel of the value [C] behind
        each of its input channels."""
        divided = self._reader(product)
        if channels is None or divided is None or not self._divides(divided, product):
            return None
        ids: Ids | None = np.broadcast_to(np.expand_dims(channels, -2), product.shape)
        node = self._reader(divided)
        while node is not None and node.op in _MOVES and ids is not None:
            ids, node = _moved(ids, node), self._reader(node)
        if node is None or ids is None or node.op != "matmul" or not is_weighted(node):
            return None
        rows = ids.reshape(-1, ids.shape[-1])
        is_permutation = np.array_equal(np.sort(rows[0]), np.arange(rows.shape[1]))
        return (node, rows[0]) if is_permutation and np.all(rows == rows[0]) else None

    def _divides(self, divided: Node, product: Node) -> bool:
        """Whether ``divided`` is ``product`` times what the sums of its rows give."""
        if divided.op != "multiply" or divided.constants or divided.inputs[0] != product.name:
            return False
        factor = self.nodes.get(divided.inputs[1])
        if factor is None or factor.op != "divide" or 0 not in factor.constants:
            return False
        total = self.nodes.get(factor.inputs[1])
        return total is not None and total.inputs[0] == product.inputs[0]


@dataclass(frozen=True, eq=False)
class _Channels:
    """The layer ``source``, and the number of its channel for each element of a moved tensor."""

    source: str
    ids: Ids


def _moved(ids: Ids, move: Node) -> Ids:
    if move.op == "reshape":
        return ids.reshape(move.shape)
    axes = move.call.attrs.axes
    return ids.transpose([int(axis) for axis in axes] if axes else None)


def _along(ids: Ids, axis: int) -> Ids | None:
    """``ids`` without ``axis``, if they do not change along it."""
    first: Ids = np.asarray(ids.take(0, axis))
    return first if np.all(ids == np.expand_dims(first, axis)) else None


def _meeting(query: Ids | None, key: Ids | None) -> Ids | None:
    """For each channel of the key that of the query; None where a channel has several or none."""
    if query is None or key is None or query.shape != key.shape:
        return None
    for axis in reversed(range(query.ndim - 1)):
        first, other = _along(query, axis), _along(key, axis)
        if first is not None and other is not None:  # so it is for samples, and not for heads
            query, key = first, other
    queries, keys = query.ravel(), key.ravel()
    everyone = np.arange(keys.size)
    if not all(np.array_equal(np.sort(ids), everyone) for ids in (queries, keys)):
        return None
    return queries[np.argsort(keys)]
