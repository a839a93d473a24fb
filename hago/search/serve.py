"""A device of a tracker: TVM's RPC server, made to outlive the trials that it runs.

TVM's server stops listening, without ending, when a session's process crashes (tvm 0.27,
rpc/server.py, ``_serving``); a search must not lose its devices one by one to one bad kernel.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import tvm_ffi
from tvm.rpc import server

from hago.errors import BuildError
from hago.hardware.host import cpu_features
from hago.hardware.permission import refused_features
from hago.search.identity import cpu_name
from hago.search.tracker import PROBE

_PORTS = (9091, 9199)


def serve(host: str, port: int, key: str, address: str = "0.0.0.0") -> None:
    """Offers this computer under ``key`` to the tracker at ``host``:``port``, until it is ended.

    ``address`` is where sessions come in. Raises BuildError where the extra ``rpc`` is missing.
    """
    if find_spec("cloudpickle") is None:
        raise BuildError(
            "no server of trials",
            fact="TVM's RPC server needs the package cloudpickle, which is not installed",
            way_out="pip install 'hago[rpc]'",
        )
    started = server.Server(
        address,
        *_PORTS,
        tracker_addr=(host, port),
        key=key,
        silent=True,
        server_init_callback=prepare,
    )
    try:
        started.proc.join()
    finally:
        started.terminate()


def prepare() -> None:
    """Runs in the server's process before it listens; sessions inherit what is done here."""
    features = cpu_features() - {*refused_features(cpu_features())}
    answer = "\n".join((cpu_name(), " ".join(sorted(features))))
    tvm_ffi.register_global_func(PROBE, lambda: answer, override=True)
    server._serving = outliving(server._serving)


def outliving(serving: Any) -> Any:
    """``serving``, a session of which may end as it likes."""

    def survive(connection: Any, *others: Any) -> None:
        folder = os.getcwd()
        try:
            serving(connection, *others)
        except RuntimeError:  # of the session's process: whoever waits sees its connection end
            os.chdir(folder)
            connection.close()

    return survive
