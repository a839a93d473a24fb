"""Addresses of other computers on the command line."""

from __future__ import annotations

import pytest

from hago.cli.options import UsageError
from hago.cli.places import parse_address, parse_tracker
from hago.search.tracker import Tracker
from tests.cli.program import MACHINE, Program


@pytest.mark.parametrize(
    ("text", "address"),
    [("lab:9190", ("lab", 9190)), (" 10.0.0.7:1 ", ("10.0.0.7", 1)), ("[::1]:80", ("::1", 80))],
)
def test_addresses_are_read_as_people_write_them(text, address):
    assert parse_address(text, "--rpc") == address


@pytest.mark.parametrize("text", ["", "lab", ":9190", "lab:", "lab:0", "lab:65536", "a:x", "a:-1"])
def test_what_is_no_address_is_a_usage_error(text):
    with pytest.raises(UsageError, match=r"--rpc .*: no address"):
        parse_address(text, "--rpc")


@pytest.mark.parametrize(
    ("rpc", "key", "missing"), [("lab:1", None, "--key"), (None, "box", "--rpc")]
)
def test_a_tracker_and_a_key_go_together(rpc, key, missing):
    with pytest.raises(UsageError, match=f"{missing} is missing"):
        parse_tracker(rpc, key)
    assert parse_tracker("lab:1", "box") == Tracker("lab", 1, "box")
    assert parse_tracker(None, None) is None


def test_a_search_on_a_tracker_that_is_not_there_says_so(
    hago_program: Program, model, data, tmp_path
):
    outcome = hago_program(
        *("tune", model, "--hw", MACHINE, "--data", data, "--session", tmp_path / "s"),
        *("--max-drop", "1%", "--rpc", "127.0.0.1:9", "--key", "box"),
    )
    assert outcome.code == 2
    assert "DeviceError: 127.0.0.1:9: no tracker" in outcome.err
