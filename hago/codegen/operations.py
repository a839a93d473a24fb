"""All elementwise operations that an epilogue may name."""

from __future__ import annotations

from hago.codegen import vector
from hago.codegen.float8 import CODES, ROUNDINGS
from hago.codegen.integer import INTEGER

OPERATIONS: dict[str, vector.Operation] = {**vector.OPERATIONS, **INTEGER, **ROUNDINGS, **CODES}
