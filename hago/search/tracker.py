"""Devices behind TVM's RPC tracker: who they are, and sessions with them."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from hago.errors import BuildError
from hago.hardware.spec import HardwareSpec

PROBE = "hago.device"  # what a device says of itself, where 'hago serve' runs on it
_PATIENCE_S = 30.0  # for the first device of a key
_STEP_S = 0.1
_CONNECT_S = 5.0
_PROBE_S = 30.0  # seconds that asking may take


class DeviceError(BuildError):
    """There is no device to measure on: a fact about the laboratory, not about a trial."""


@dataclass(frozen=True)
class Site:
    """The CPU's name, and its features (None where the device does not say)."""

    name: str
    features: frozenset[str] | None = None

    def lacks(self, spec: HardwareSpec) -> tuple[str, ...]:
        """Features that ``spec`` needs and the site is known not to have."""
        return () if self.features is None else tuple(sorted({*spec.features} - self.features))


@dataclass(frozen=True)
class Tracker:
    """A tracker's address, and the key of devices that are alike."""

    host: str
    port: int
    key: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}, key '{self.key}'"

    def registered(self) -> tuple[int, int]:
        """How many devices of the key there are, and how many of these are free.

        Raises DeviceError where no tracker answers.
        """
        summary = self._connection().summary()
        servers = [each["key"] for each in summary["server_info"]]
        queue = summary["queue_info"].get(self.key, {})
        return servers.count(f"server:{self.key}"), int(queue.get("free", 0))

    def wait(self, patience_s: float = _PATIENCE_S) -> int:
        """The number of devices, as soon as one is free.

        Raises DeviceError where there has been none at all for ``patience_s``.
        """
        last_seen = time.monotonic()
        while True:
            count, free = self.registered()
            if free:
                return count
            if count:
                last_seen = time.monotonic()
            if time.monotonic() - last_seen > patience_s:
                raise DeviceError(
                    f"{self}: no device",
                    fact=f"none has been registered for {patience_s:g} s",
                    way_out="Start 'hago serve' on a device, and run the same command again.",
                )
            time.sleep(_STEP_S)

    def session(self, limit_s: float) -> Any:
        """A session with a free device, which the device ends after ``limit_s`` seconds."""
        return self._connection().request(self.key, session_timeout=limit_s)

    def _connection(self) -> Any:
        from tvm import rpc  # only here: a request that names no tracker needs no TVM

        try:
            socket.create_connection((self.host, self.port), _CONNECT_S).close()  # TVM tries 60 s
            return rpc.connect_tracker(self.host, self.port)
        except (OSError, RuntimeError) as error:
            raise DeviceError(
                f"{self.host}:{self.port}: no tracker",
                fact=str(error),
                way_out="Start one: python -m tvm.exec.rpc_tracker --host HOST --port PORT.",
            ) from error


@cache
def describe(tracker: Tracker) -> Site:
    """What one of the devices says of itself: those of one key are alike.

    A server of TVM's own says nothing; it is called by its key.
    """
    tracker.wait()
    session = tracker.session(_PROBE_S)
    try:
        name, _, features = str(session.get_function(PROBE)()).partition("\n")
    except (RuntimeError, AttributeError):
        return Site(tracker.key)
    return Site(name, frozenset(features.split()))
