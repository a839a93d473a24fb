"""Reading the recogniser's output: connectionist temporal classification, greedily.

A. Graves et al., Connectionist Temporal Classification, ICML 2006, section 3.2: the most likely
class of each step, repetitions merged, blanks removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

BLANK = 0


def read_dictionary(model: Path) -> tuple[str, ...]:
    """The recogniser's classes: the blank, the characters of the model's metadata, a space.

    Raises ValueError for a model without them.
    """
    import onnx

    metadata = {entry.key: entry.value for entry in onnx.load(str(model)).metadata_props}
    if "character" not in metadata:
        raise ValueError(f"{model} has no list of characters in its metadata")
    return ("", *metadata["character"].splitlines(), " ")


def decode(scores: npt.NDArray[np.float32], dictionary: Sequence[str]) -> str:
    """The text of ``scores``, float [steps, classes] or [1, steps, classes]."""
    best = scores.reshape(-1, scores.shape[-1]).argmax(axis=1)
    begins = np.flatnonzero(np.diff(best, prepend=-1))
    return "".join(dictionary[code] for code in best[begins] if code != BLANK)
