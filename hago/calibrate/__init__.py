"""calibrate: data runs once through the float model; ranges come from what was seen."""

from hago.calibrate.data import Dataset, load_data
from hago.calibrate.observers import TensorStats
from hago.calibrate.ranges import RANGE_METHODS, choose_range
from hago.calibrate.run import Stats, calibrate

__all__ = [
    "RANGE_METHODS",
    "Dataset",
    "Stats",
    "TensorStats",
    "calibrate",
    "choose_range",
    "load_data",
]
