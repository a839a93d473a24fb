"""Every tutorial runs from its first line to its last."""

import os
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
