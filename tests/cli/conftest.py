"""A model, its data and its artifact, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from hago.pipeline import Options, compile_model
from tests.cli.program import MACHINE, Program, save_data, save_network


@pytest.fixture(autouse=True)
def _own_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the user's cache knows would change what is built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def hago_program(capsys: pytest.CaptureFixture[str]) -> Program:
    return Program(capsys)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("cli") / "net.onnx")


@pytest.fixture(scope="session")
def data(model: Path) -> Path:
    return save_data(model.with_name("data.npz"))


@pytest.fixture(scope="session")
def artifact(model: Path, data: Path) -> Path:
    folder = model.with_name("artifact")
    compile_model(model, MACHINE, data, folder, Options("int8"))
    return folder
