"""hago serve: this computer as a device on which searches elsewhere measure."""

from __future__ import annotations

from typing import Annotated

import typer

from hago.cli.places import parse_address


def serve(
    tracker: Annotated[
        str, typer.Option("--tracker", metavar="HOST:PORT", help="TVM's RPC tracker.")
    ],
    key: Annotated[str, typer.Option("--key", metavar="K", help="The name of alike devices.")],
    address: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where sessions come in.")
    ] = "0.0.0.0",
) -> None:
    """Offer this computer to 'hago tune --rpc' as a device, until Ctrl-C.

    Whoever reaches it can run code on it: for trusted networks only.
    """
    host, port = parse_address(tracker, "--tracker")
    from hago.search.serve import serve as offer

    offer(host, port, key, address)
