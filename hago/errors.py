"""Errors that a user can act on: what and where, the fact, its source, the way out."""

# What TVM's importers and compiler raise where they cannot do something; TVM's own errors are
# RuntimeErrors.
TVM_REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class HagoError(Exception):
    """Base of every error that hago raises on purpose.

    Args:
        what: the thing and the place, e.g. ``"conv2d_7 -> add_3[0]: no way to run 'add'"``.
        fact: what was seen that makes it impossible.
        source: where the fact comes from (a file and line, a rule, a manual).
        way_out: what the user can do now.
    """

    def __init__(self, what: str, *, fact: str = "", source: str = "", way_out: str = "") -> None:
        self.what, self.fact, self.source, self.way_out = what, fact, source, way_out
        super().__init__(self._text())

    def _text(self) -> str:
        middle = "      ".join(part for part in (self.fact, self.source) if part)
        return "\n  ".join(part for part in (self.what, middle, self.way_out) if part)


class ModelError(HagoError):
    """The model file, or what is in it, cannot be used."""


class SpecError(HagoError):
    """A hardware specification is wrong, or contradicts itself."""


class DataError(HagoError):
    """Calibration or input data does not fit the model."""


class StrategyError(HagoError):
    """A choice of precisions cannot run on the machine."""


class BuildError(HagoError):
    """Code generation, linking, loading or running an artifact failed."""
