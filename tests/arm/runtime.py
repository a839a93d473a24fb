"""TVM's runtime for Arm, and hago-run with it: what whole networks need under QEMU.

    python -m tests.arm.runtime

downloads the wheels of the installed versions for aarch64 (95 MB), unpacks what a runtime is of
them, and builds hago-run with the cross compiler, into the cache folder: $HAGO_ARM, or
~/.cache/hago/arm.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from hago.deploy.manifest import read_manifest
from tests.arm.board import EMULATORS, counter, tool

ROOT = Path(__file__).resolve().parents[2]
SYSROOT = Path("/usr/aarch64-linux-gnu")
_PACKAGES = ("apache-tvm", "apache-tvm-ffi")
_KEPT = re.compile(r"tvm/lib/libtvm_runtime\.so|tvm_ffi/(lib/libtvm_ffi\.so|include/)")


def folder() -> Path:
    return Path(os.environ.get("HAGO_ARM") or Path.home() / ".cache" / "hago" / "arm")


@dataclass(frozen=True)
class Runner:
    """hago-run for Arm."""

    path: Path

    def run(
        self, artifact: Path, inputs: dict[str, np.ndarray], cpu: str = "max"
    ) -> dict[str, np.ndarray]:
        """The outputs of ``artifact`` by name, on one of QEMU's CPUs."""
        with tempfile.TemporaryDirectory() as scratch:
            options, outputs = self._files(artifact, inputs, Path(scratch))
            done = self._execute([tool(*EMULATORS)], artifact, options, cpu)
            assert done.returncode == 0, done.stderr
            return {name: np.load(path) for name, path in outputs.items()}

    def count(self, artifact: Path, inputs: dict[str, np.ndarray]) -> int:
        """Instructions of one call: those of the program less those of one that stops before."""
        with tempfile.TemporaryDirectory() as scratch:
            options, _ = self._files(artifact, inputs, Path(scratch))
            command = [tool("qemu-aarch64"), "-plugin", str(counter(Path(scratch)))]
            whole = self._execute(command, artifact, options)
            assert whole.returncode == 0, whole.stderr
            nothing = self._execute(command, artifact, [])
            assert "no --input" in nothing.stderr, nothing.stderr
            return _executed(whole.stderr) - _executed(nothing.stderr)

    def refusal(self, artifact: Path, cpu: str) -> str:
        """What it says on a ``cpu`` that ``artifact`` was not built for."""
        done = self._execute([tool(*EMULATORS)], artifact, [], cpu)
        assert done.returncode == 2, done.stderr
        return done.stderr

    def _files(
        self, artifact: Path, inputs: dict[str, np.ndarray], scratch: Path
    ) -> tuple[list[str], dict[str, Path]]:
        options = []
        for name, array in inputs.items():
            np.save(scratch / f"in-{name}.npy", array)
            options += ["--input", f"{name}={scratch / f'in-{name}.npy'}"]
        names = [spec.name for spec in read_manifest(artifact).outputs]
        outputs = {name: scratch / f"{name}.npy" for name in names}
        for name, path in outputs.items():
            options += ["--output", f"{name}={path}"]
        return options, outputs

    def _execute(
        self, emulator: list[str], artifact: Path, options: list[str], cpu: str = "max"
    ) -> subprocess.CompletedProcess[str]:
        board = [*emulator, "-cpu", cpu, "-L", str(SYSROOT)]
        command = [*board, str(self.path), str(artifact), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)


def _executed(text: str) -> int:
    found = re.search(r"executed (\d+)", text)
    assert found is not None, text
    return int(found[1])


def runner() -> Runner:
    """The built hago-run; the test is skipped where there is none."""
    tool(*EMULATORS)
    path = folder() / "build" / "hago-run"
    if not path.exists():
        pytest.skip(f"no {path}: 'python -m tests.arm.runtime' makes it")
    return Runner(path)


def main() -> None:
    wheels = folder() / "wheels"
    with tempfile.TemporaryDirectory() as scratch:
        names = [f"{package}=={version(package)}" for package in _PACKAGES]
        platform = ["--platform", "manylinux_2_28_aarch64", "--only-binary", ":all:"]
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", *platform, "-d", scratch]
        _call([*pip, *names])
        for wheel in Path(scratch).glob("*.whl"):
            _unpack(wheel, wheels)
    build = folder() / "build"
    cross = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++"]
    folders = [f"-DTVM={wheels / 'tvm'}", f"-DTVM_FFI={wheels / 'tvm_ffi'}"]
    _call(["cmake", "-S", str(ROOT), "-B", str(build), *cross, *folders])
    _call(["cmake", "--build", str(build)])


def _unpack(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target, [n for n in archive.namelist() if _KEPT.match(n)])


def _call(command: list[str]) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
