"""Every tutorial runs from its first line to its last."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT / "tutorials").glob("*.py"))
NEEDS = {"05_deploy_with_cpp.py": ("cmake", "c++")}  # programs, by tutorial


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.name)
def test_a_tutorial_runs(tutorial):
    missing = [name for name in NEEDS.get(tutorial.name, ()) if not shutil.which(name)]
    if missing:
        pytest.skip(f"{tutorial.name} needs {', '.join(missing)}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(tutorial)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_machine_of_the_tutorial_is_named_nowhere_in_hago():
    """A new machine needs no change of the compiler: neither its name nor its mcpu is in there."""
    text = (ROOT / "tutorials" / "02_write_a_hardware_spec.py").read_text()
    names = {*re.findall(r'machine\(\s*"([^"]+)"', text), *re.findall(r'"mcpu": "([^"]+)"', text)}
    assert names
    files = [path for path in (ROOT / "hago").rglob("*") if path.is_file()]
    sources = [path for path in files if path.suffix in (".py", ".cc", ".h", ".cuh", ".jinja")]
    assert len(sources) > 100
    found = [
        path.name for path in sources for name in names if name in path.read_text().lower()
    ]
    assert not found
