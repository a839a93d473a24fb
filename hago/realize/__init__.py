"""realize: a model with numbers becomes an integer module, and numpy says what it means."""

from hago.realize.imported import realize_imported
from hago.realize.insert import insert_qdq
from hago.realize.integerize import integerize
from hago.realize.interpret import interpret
from hago.realize.realize import realize, realize_qdq

__all__ = ["insert_qdq", "integerize", "interpret", "realize", "realize_imported", "realize_qdq"]
