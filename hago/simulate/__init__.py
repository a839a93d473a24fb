"""simulate: the float module that behaves as the quantized one, with numbers as arguments."""

from hago.simulate.simulate import Simulation, simulate

__all__ = ["Simulation", "simulate"]
