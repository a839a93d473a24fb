"""A template: a way to build the kernels of one kind of workload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hago.codegen.epilogue import Epilogue
from hago.codegen.schedule import Schedule
from hago.codegen.workload import Kernel


@dataclass(frozen=True)
class Template:
    """``build(workload, epilogue, machine)`` makes kernels for workloads of ``kind`` where
    ``applies(workload, machine)``; the machine is a CPU's ``Machine`` or a GPU's ``Device``.

    Where there are ``schedules(workload, machine)``, ``build`` takes one of them as well; the first
    is its own choice, the others are worth a measurement.
    """

    kind: type
    applies: Callable[[Any, Any], bool]
    build: Callable[..., Kernel]
    schedules: Callable[[Any, Any], tuple[Schedule, ...]] | None = None

    def kernel(
        self, workload: Any, epilogue: Epilogue, machine: Any, schedule: Schedule | None
    ) -> Kernel:
        """The kernel by ``schedule``; by the template's own choice where that is None."""
        if schedule is None:
            return self.build(workload, epilogue, machine)
        return self.build(workload, epilogue, machine, schedule)


def always(workload: object, machine: object) -> bool:
    """For templates that compute every workload of their kind."""
    return True
