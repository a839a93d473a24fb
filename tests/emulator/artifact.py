"""Artifacts for AMX as functions of plain data, for a process that has AMX."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np

from hago.deploy import load as loading
from tests.emulator.emulation import AMX_FLAGS


def run_artifact(folder: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of an artifact, loaded as on a CPU whose features include AMX."""
    features = loading.cpu_features() | AMX_FLAGS
    with mock.patch.object(loading, "cpu_features", return_value=features):
        return loading.load(folder).run(inputs)
