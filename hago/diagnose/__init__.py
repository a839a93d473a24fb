"""diagnose: where accuracy is lost, edge by edge, and what would mend it."""

from hago.diagnose.diagnose import Question, diagnose
from hago.diagnose.diagnosis import Diagnosis

__all__ = ["Diagnosis", "Question", "diagnose"]
