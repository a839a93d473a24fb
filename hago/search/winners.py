"""The fastest known schedule of each kernel on this computer, kept for later compilations."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hago.codegen.epilogue import Epilogue
from hago.codegen.fold import fold
from hago.codegen.schedule import Schedule
from hago.codegen.workload import Conv2d, Machine, Workload
from hago.hardware.host import cpu_features
from hago.hardware.spec import HardwareSpec
from hago.lower.select import find_template, machine_of, schedules
from hago.search.cache import Cache
from hago.search.identity import code_digest, cpu_name


@dataclass(frozen=True)
class Winner:
    """``schedule`` by its name, and what it takes beside the template's own choice."""

    schedule: str
    default_us: float
    best_us: float


@dataclass(frozen=True, eq=False)
class Winners:
    """What ``cache`` knows of kernels for ``machine``.

    A file of the cache holds names and numbers: a name counts where it is that of a schedule that
    the template offers, so that a file that is damaged or not ours does no more harm than none.
    """

    cache: Cache
    machine: Machine

    def find(self, workload: Workload, epilogue: Epilogue) -> Winner | None:
        """None where nothing has been measured."""
        found = self.cache.find(kernel_key(workload, epilogue, self.machine))
        names = set(map(str, schedules(workload, self.machine)))
        match found:
            case {"schedule": str(name), "default_us": float(default), "best_us": float(best)}:
                return Winner(name, default, best) if name in names else None
        return None

    def keep(self, workload: Workload, epilogue: Epilogue, winner: Winner) -> None:
        """Raises DiskError where the cache cannot be written."""
        self.cache.put(kernel_key(workload, epilogue, self.machine), asdict(winner))

    def choose(self, workload: Workload, epilogue: Epilogue) -> Schedule | None:
        """The schedule that won; None where it is the template's own choice, or not known."""
        winner = self.find(workload, epilogue)
        if winner is None:
            return None
        _, *others = schedules(workload, self.machine)
        return next((each for each in others if str(each) == winner.schedule), None)

    def kept_in(self, folder: Path) -> Winners:
        """What ``folder`` knows of the same kernels."""
        return replace(self, cache=replace(self.cache, folder=folder))

    def copy_to(self, folder: Path) -> None:
        """Keeps what is known now in ``folder``, too. Raises DiskError where that cannot be."""
        copy = Cache(folder)
        for key, value in self.cache.items():
            copy.put(key, value)

    @property
    def digest(self) -> str:
        """Of all that is known; nothing where that is nothing."""
        known = list(self.cache.items())
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16] if known else ""


def open_winners(cache: Cache, spec: HardwareSpec, threads: int) -> Winners | None:
    """What ``cache`` knows of kernels for ``spec`` on this computer, run by ``threads``; None for a
    machine whose kernels have no schedules."""
    machine = machine_of(spec)
    if not isinstance(machine, Machine):
        return None
    scope = {
        "cpu": cpu_name(),
        "features": " ".join(sorted(cpu_features())),
        "target": str(sorted(spec.target.items())),
        "threads": str(threads),
        "code": code_digest(),
    }
    return Winners(cache.scoped(scope), machine)


def kernel_key(workload: Workload, epilogue: Epilogue, machine: Machine) -> dict[str, str]:
    """What a kernel's time depends on: not on the numbers in its epilogue, which calibration
    chooses."""
    template = find_template(workload, machine)
    assert template is not None, workload
    if isinstance(workload, Conv2d):  # of the code in the padding only whether it is 0
        workload = replace(workload, pad_code=int(workload.pad_code != 0))
    epilogue = fold(epilogue)
    steps = [(step.op, step.args) for step in epilogue.steps]
    return {
        "template": template.build.__name__,
        "workload": str(workload),
        "epilogue": f"{epilogue.accumulator} -> {epilogue.dtype}: {epilogue.operands} {steps}",
        "machine": f"{machine.vector_bytes} bytes x {machine.registers}: "
        f"{' '.join(sorted(machine.instructions))}",
    }
