"""The parts of hago depend on each other in one direction only."""

import ast
from pathlib import Path

import pytest

import hago

ROOT = Path(hago.__file__).parent
# A part may import from the parts before it. Parts in one row know nothing of each other.
ORDER = (
    ("errors", "float8", "pairs", "progress"),
    ("clock", "figure"),
    ("scheme",),
    ("sample", "report"),
    ("hardware",),
    ("dataflow", "resample", "by_tvm"),
    ("rebuild", "graph", "shifted_exp"),
    ("frontend", "codegen", "calibrate", "demo", "accuracy"),
    ("prepare",),
    ("annotate",),
    ("gradient",),
    ("realize",),
    ("methods",),
    ("simulate", "export"),
    ("lower",),
    ("model", "edges", "deploy", "dump"),
    ("plan", "torch_program"),
    ("measure", "search"),
    ("mix", "lift", "kernel_search"),
    ("pipeline",),
    ("diagnose",),
    ("cli",),
    ("__init__", "__main__"),
)
RANK = {part: rank for rank, row in enumerate(ORDER) for part in row}
FILES = sorted(ROOT.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """Parts that a file names in its import statements, wherever they stand."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module)
    return {name.split(".")[1] for name in names if name.startswith("hago.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_from_its_own_part_and_from_earlier_ones(path):
    own = part_of(path)
    later = {part for part in imported_parts(path) if part != own and RANK[part] >= RANK[own]}
    assert not later


def test_every_part_has_its_place_in_the_order():
    assert {part_of(path) for path in FILES} == set(RANK) - {"hwspecs"}
