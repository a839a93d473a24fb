"""annotate: what every edge of a prepared module may be on a machine."""

from hago.annotate.annotate import annotate, choose_strategy

__all__ = ["annotate", "choose_strategy"]
