"""PyTorch, loaded where it is first used: ``from hago.gradient import torch``."""

from __future__ import annotations

import importlib
from typing import Any

from hago.errors import HagoError


def __getattr__(name: str) -> Any:
    """Attributes of the package torch. Raises HagoError where it is not installed."""
    try:
        module = importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise HagoError(
            "this method needs PyTorch",
            fact=str(error),
            source="methods that learn follow gradients, which hago takes from PyTorch",
            way_out="pip install 'hago[torch]', or use a recipe without such methods.",
        ) from error
    return getattr(module, name)
