"""Accuracy on many hosts: the simulated module runs on the workers of a dask scheduler.

Samples are spread over the workers, so that a strategy has the same outputs, in the same order,
however many there are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from hago.deploy.build import versions
from hago.errors import BuildError
from hago.sample import Sample
from hago.search.evaluate import Simulate, build_simulation
from hago.search.metrics import Outputs
from hago.search.numbers import Numbers
from hago.search.runner import TrialError
from hago.search.space import Assignment
from hago.search.tracker import DeviceError
from hago.search.worker import outcome_of

T = TypeVar("T")
_WORKERS = 2  # on which a call must fail to end before it is the call's fault
_PATIENCE_S = 30.0  # for the first worker
_CONNECT_S = 10.0

# On a worker: the module that was built last, and who uses it.
_BUILT: dict[str, Simulate] = {}
_BUILDING = threading.Lock()


@dataclass(eq=False)
class Shared:
    """``value`` here, and ``sent`` to the workers; ``name`` stays when it has to be sent again."""

    name: str
    value: object
    sent: Any


class ClusterRunner:
    """Runs calls on dask's workers. What a lost worker had is done by another one.

    A call that takes longer than ``limit_s`` seconds is taken from its worker, which is started
    anew where it has a nanny and left alone where not. Raises DeviceError where no scheduler
    answers, or it has no worker.
    """

    def __init__(self, scheduler: str, limit_s: float = 300.0) -> None:
        self._scheduler, self._limit_s = scheduler, limit_s
        self._client = _connected(scheduler)
        self._hung: set[str] = set()
        self._is_closing = False
        self.slots = len(self._workers())
        self._pool = ThreadPoolExecutor(self.slots, thread_name_prefix="hago-cluster")

    def submit(self, call: Callable[..., T], *args: object) -> Future[T]:
        return self._pool.submit(self._run, call, args)

    def share(self, value: object) -> Shared:
        """``value`` on all workers: to be given to :meth:`submit` instead of it."""
        sent = self._sent(value)
        return Shared(sent.key, value, sent)

    def _sent(self, value: object) -> Any:
        # In a list: of a dict, dask would share each value under the name of its key.
        return self._client.scatter([value], broadcast=True, hash=False)[0]

    def close(self) -> None:
        self._is_closing = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()  # ends what waits for a result
        self._pool.shutdown(wait=True)

    def _run(self, call: Callable[..., T], args: tuple[object, ...]) -> T:
        failures: list[str] = []
        while len(failures) < _WORKERS and not self._is_closing:
            task = self._client.submit(
                outcome_of, call, *self._resolved(args), pure=False, workers=self._workers()
            )
            try:
                is_result, value = task.result(timeout=self._limit_s)
            except TimeoutError:
                failures.append(f"no result after {self._limit_s:g} s on {self._ended(task)}")
                continue
            except (CancelledError, OSError, _killed_worker()) as error:
                failures.append(f"its worker was lost: {error}")
                continue
            if not is_result:
                raise TrialError(f"{call.__name__}: failed", fact=value)
            return value
        raise TrialError(
            f"{call.__name__}: failed on {len(failures)} workers", fact="; ".join(failures)
        )

    def _resolved(self, args: Iterable[object]) -> list[object]:
        """``args`` as dask takes them; what was lost with its last worker is shared anew."""
        found: list[object] = []
        for each in args:
            if isinstance(each, Shared) and each.sent.status not in ("finished", "pending"):
                each.sent = self._sent(each.value)
            nested = self._resolved(each) if isinstance(each, list) else each
            found.append(each.sent if isinstance(each, Shared) else nested)
        return found

    def _workers(self) -> list[str]:
        """Addresses of the workers that did not hang. Raises DeviceError where there is none."""
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            found = [each for each in self._client.nthreads() if each not in self._hung]
            if found:
                return found
            time.sleep(0.1)
        raise DeviceError(
            f"{self._scheduler}: no worker",
            fact=f"none has been there for {_PATIENCE_S:g} s",
            way_out=f"Start 'dask worker {self._scheduler}', and run the same command again.",
        )

    def _ended(self, task: Any) -> str:
        """Takes ``task`` from its worker; the worker's address."""
        processing = self._client.processing().items()
        hung = [place for place, keys in processing if task.key in map(str, keys)]
        self._hung.update(hung)
        task.cancel()
        with suppress(ValueError, TimeoutError):  # without a nanny it cannot be started anew
            self._client.restart_workers(hung, timeout=_CONNECT_S, raise_for_error=False)
        return ", ".join(hung) or "no worker"


def _connected(scheduler: str) -> Any:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise BuildError(
            "no cluster", fact=str(error), way_out="pip install 'hago[cluster]'"
        ) from error
    try:
        return distributed.Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"{scheduler}: no scheduler",
            fact=str(error),
            way_out="Start one with 'dask scheduler', and give its address with --cluster.",
        ) from error


def _killed_worker() -> type[Exception]:
    """What dask raises for a call that several workers died of."""
    from distributed.scheduler import KilledWorker

    return KilledWorker


@contextmanager
def simulating_on(scheduler: str, limit_s: float) -> Iterator[Callable[[Numbers], Simulate]]:
    """:func:`hago.search.evaluate.build_simulation`, on a cluster for the time of the context."""
    runner = ClusterRunner(scheduler, limit_s)
    try:
        yield lambda numbers: spread(runner, numbers)
    finally:
        runner.close()


def spread(runner: ClusterRunner, numbers: Numbers) -> Simulate:
    """``run(assignment, samples) -> outputs``; each worker builds the module once."""
    shared = runner.share(numbers)
    known: dict[int, tuple[Sample, Shared]] = {}  # by identity, of samples that are kept alive

    def shared_sample(sample: Sample) -> Shared:
        if id(sample) not in known:
            known[id(sample)] = sample, runner.share(sample)
        return known[id(sample)][1]

    def outputs(assignment: Assignment, samples: Sequence[Sample]) -> Outputs:
        places = [shared_sample(sample) for sample in samples]
        parts = min(runner.slots, len(places))
        futures = [
            runner.submit(
                evaluate, shared.name, versions(), shared, assignment,
                places[part * len(places) // parts : (part + 1) * len(places) // parts],
            )
            for part in range(parts)
        ]  # fmt: skip
        return [output for future in futures for output in future.result()]

    return outputs


def evaluate(
    name: str,
    wanted: dict[str, str],
    numbers: Numbers,
    assignment: Assignment,
    samples: Sequence[Sample],
) -> Outputs:
    """The outputs for ``samples``, on a worker. Raises BuildError where its hago is another."""
    if versions() != wanted:
        raise BuildError(
            "a worker has other versions than the search",
            fact=f"{versions()}, not {wanted}",
            way_out="Install the same versions on all hosts.",
        )
    with _BUILDING:
        if name not in _BUILT:
            _BUILT.clear()  # of an earlier search
            _BUILT[name] = build_simulation(numbers)
        return _BUILT[name](assignment, samples)
