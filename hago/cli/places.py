"""Addresses of other computers as people write them: HOST:PORT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hago.cli.options import UsageError

if TYPE_CHECKING:
    from hago.search.tracker import Tracker

_LARGEST_PORT = 65535


def parse_address(text: str, option: str) -> tuple[str, int]:
    """``"lab:9190"`` as ``("lab", 9190)``. Raises UsageError on anything else."""
    host, _, port = text.strip().rpartition(":")
    if host and port.isdecimal() and port.isascii() and 0 < int(port) <= _LARGEST_PORT:
        return host.removeprefix("[").removesuffix("]"), int(port)
    raise UsageError(
        f"{option} {text}: no address",
        fact="a host and a port were expected",
        way_out=f"Write for example {option} 192.168.0.7:9190.",
    )


def parse_tracker(rpc: str | None, key: str | None) -> Tracker | None:
    """The tracker of ``--rpc`` and ``--key``: both, or none. Raises UsageError."""
    if rpc is None and key is None:
        return None
    if not rpc or not key:
        missing = "--key" if rpc else "--rpc"
        raise UsageError(
            f"{missing} is missing",
            fact="a tracker keeps devices by key",
            way_out="Give --rpc HOST:PORT and --key K together.",
        )
    from hago.search.tracker import Tracker

    return Tracker(*parse_address(rpc, "--rpc"), key)
