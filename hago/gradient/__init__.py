"""gradient: a prepared module run by PyTorch, with gradients through its roundings.

Needs the extra ``hago[torch]``; importing this package does not load PyTorch.
"""

from hago.gradient.program import Hook, Hooks, Program, Step, over_samples, read_program, run_steps

__all__ = ["Hook", "Hooks", "Program", "Step", "over_samples", "read_program", "run_steps"]
