"""Artifacts of another architecture: named as such, linked by its own linker, refused here."""

import platform
from dataclasses import replace

import pytest

from hago.deploy.artifact import write_artifact
from hago.deploy.build import machine_for
from hago.deploy.load import load
from hago.deploy.manifest import read_manifest
from hago.errors import BuildError
from hago.hardware.load import load_spec
from hago.lower.linker import link_shared, linker_for
from tests.deploy.models import manifest_of


def foreign(folder):
    """An artifact whose library is code of an architecture that there is not."""
    manifest = manifest_of()
    manifest = replace(manifest, machine=replace(manifest.machine, architecture="riscv128"))
    return write_artifact(folder, lambda path: path.write_bytes(b"code"), manifest)


def test_an_artifact_says_what_architecture_its_code_is_for(tmp_path):
    assert read_manifest(foreign(tmp_path / "out")).machine.architecture == "riscv128"
    assert machine_for(load_spec("arm-i8mm")).architecture == "aarch64"
    assert machine_for(load_spec("x86-vnni")).architecture == platform.machine()


def test_another_architecture_is_refused_before_its_code_is_loaded(tmp_path):
    folder = foreign(tmp_path / "out")
    with pytest.raises(BuildError) as caught:
        load(folder)
    message = str(caught.value)
    assert f"code for riscv128, this is {platform.machine()}" in message
    assert "qemu-riscv128 -cpu max" in message


def test_this_computers_code_is_linked_by_its_own_linker():
    assert linker_for("") is link_shared
    assert linker_for(f"{platform.machine()}-linux-gnu") is link_shared


def test_a_missing_cross_linker_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    link = linker_for("riscv128-linux-gnu")
    with pytest.raises(BuildError, match="no linker for riscv128") as caught:
        link(str(tmp_path / "model.so"), [])
    assert "riscv128-linux-gnu-g++" in str(caught.value)
    assert "gcc-riscv128-linux-gnu" in str(caught.value)
