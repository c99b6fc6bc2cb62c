"""Ray as a pool: one task a shard, on any node of a cluster, or on this machine alone.

Nothing but text goes through Ray: tasks and outcomes, kilobytes each. Ray retries nothing by itself; the driver does,
so that every attempt is counted. What is set here, and why, is in `docs/scale.md`.
"""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from mergegraph.cluster.pool import Failed, Made, Ticket
from mergegraph.cluster.ray_output import kept_apart
from mergegraph.cluster.worker import decoded, perform
from mergegraph.errors import Location, Problem, RecipeError, RunError

if TYPE_CHECKING:
    from types import ModuleType

KEEPALIVES: Final = {
    # a host that is cut off is noticed in seconds; by default after seven minutes
    "RAY_grpc_client_keepalive_time_ms": "3000",
    "RAY_grpc_client_keepalive_timeout_ms": "3000",
    "RAY_grpc_keepalive_time_ms": "3000",
    "RAY_grpc_keepalive_timeout_ms": "3000",
}
"""Of every process of a cluster or of none: a node without them takes the driver's for too many, closes the connection
after some ten seconds, and the task that it made is lost (2.60)."""
SETTINGS: Final = {
    # no telemetry
    "RAY_USAGE_STATS_ENABLED": "0",
    # a task that runs out of memory is ended for good after a few attempts; by default it is tried for ever
    "RAY_task_oom_retries": "2",
    # no line is held back to be counted
    "RAY_DEDUP_LOGS": "0",
}
_OBJECT_STORE_BYTES = 80 << 20
"""No tensor goes there; by default Ray takes 30 percent of the memory."""
_REACHED_SECONDS = 10
_ANSWERED_SECONDS = 15
_RESERVED_BYTES = 300 << 20
"""What a worker holds beside its tiles: the interpreter, torch and the engine."""


class RayPool:
    """Tasks of `threads` processors each, or of `gpus` devices; made by `ray_pool`."""

    def __init__(self, ray: ModuleType, *, threads: int, gpus: float, memory_bytes: int) -> None:
        self._ray: Any = ray
        self._threads, self._gpus = threads, gpus
        self._remote: Any = self._ray.remote(
            num_cpus=threads, num_gpus=gpus, memory=memory_bytes, max_retries=0, max_calls=0, num_returns="streaming"
        )(performing)
        self._began: dict[Ticket, float] = {}
        self._failed: dict[Ticket, Failed] = {}

    def slots(self) -> int:
        """As many tasks as all living nodes take at once."""
        return sum([self._fits(node["Resources"]) for node in self._ray.nodes() if node["Alive"]])

    def _fits(self, resources: dict[str, float]) -> int:
        by_cpu = int(resources.get("CPU", 0) // self._threads)
        return min(by_cpu, int(resources.get("GPU", 0) // self._gpus)) if self._gpus else by_cpu

    def submit(self, task: str) -> Ticket:
        return self._remote.remote(task)

    def began(self, ticket: Ticket) -> float | None:
        return self._began.get(ticket)

    def wait(self, tickets: Collection[Ticket], seconds: float) -> Collection[Ticket]:
        if not tickets:
            time.sleep(min(seconds, 1.0))
            return ()
        until = time.monotonic() + seconds
        while True:
            left = max(0.0, until - time.monotonic())
            ready: list[Any] = self._ray.wait(list(tickets), timeout=left, fetch_local=False)[0]
            ended = [ticket for ticket in ready if not self._begins(ticket)]
            if ended or not left:
                return ended

    def _begins(self, ticket: Any) -> bool:
        """Whether what a task has to say is that it begins, and no outcome."""
        if ticket in self._began or ticket in self._failed:
            return False
        said = self._next(ticket)
        if isinstance(said, Failed):
            self._failed[ticket] = said
            return False
        self._began[ticket] = time.monotonic()
        return True

    def outcome(self, ticket: Ticket) -> Made | Failed | str:
        said = self._failed.pop(ticket, None) or self._next(ticket)
        self._began.pop(ticket, None)
        return said if isinstance(said, Failed) else decoded(said)

    def _next(self, ticket: Any) -> str | Failed:
        """What a task says next. A worker, or a node, that is gone may be replaced by another; what else Ray says of a
        task is a bug here."""
        errors: Any = self._ray.exceptions
        gone = (
            errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError, errors.LocalRayletDiedError,
            errors.ObjectLostError, errors.RaySystemError, errors.TaskUnschedulableError,
        )  # fmt: skip
        try:
            return self._ray.get(next(ticket))
        except gone as error:
            why = " ".join(str(error).split())[:300]
            return Failed((Problem("A worker of the cluster is gone.", why=why),), 1, may_pass=True)

    def give_up(self, ticket: Ticket) -> None:
        self._began.pop(ticket, None)
        self._failed.pop(ticket, None)
        self._ray.cancel(ticket, force=True)


def performing(task: str) -> Iterator[str]:
    """What a worker executes: says at once that it has begun, and at the end what became of the task."""
    yield ""
    yield perform(task)


@contextmanager
def ray_pool(address: str | None, *, threads: int, gpus: float, budget_bytes: int) -> Generator[RayPool]:
    """A pool on the cluster at `address` (`auto`, or `HOST:6379`), or on a new one of this machine alone.

    RecipeError where Ray is not installed, the cluster is not there, or no node is large enough. A RunError of the
    block tells what Ray said last.
    """
    ray = _imported(settings_for(address))
    at = Location(f"--address {address}" if address else "--executor ray")
    with kept_apart() as said:
        try:
            _connect(ray, address)
        except (OSError, RuntimeError, ValueError) as error:
            why = " ".join(str(error).split())[:300]
            fix = (
                "--address HOST:6379, as `ray start --head --disable-usage-stats` tells it there; or none, to use this "
                "machine"
            )
            raise RecipeError(Problem("There is no Ray cluster to be reached.", at, why=why, fix=fix)) from error
        try:
            yield _fitting(ray, at, threads, gpus, _RESERVED_BYTES + budget_bytes)
        except RunError as error:
            raise _with_last_words(error, said.last) from error
        finally:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    if address:
        _reach(address)
        _require_head(address)
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    else:
        ray.init(
            address="local", include_dashboard=False, log_to_driver=False, configure_logging=False,
            object_store_memory=_OBJECT_STORE_BYTES,
        )  # fmt: skip


def _with_last_words(error: RunError, words: str) -> RunError:
    first, *rest = error.problems
    why = "\n".join(filter(None, (first.why, f"Ray said last: {words}" if words else "")))
    return RunError(replace(first, why=why), *rest)


def _reach(address: str) -> None:
    """OSError where nobody listens at HOST:PORT, ValueError for what is none."""
    if "://" in address:
        raise ValueError(f"{address} is an address of Ray's client, which this does not use")
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        if int(port) > 65535:
            raise ValueError(f"{port} is no port: they end at 65535")
        socket.create_connection((host, int(port)), timeout=_REACHED_SECONDS).close()


def _require_head(address: str) -> None:
    """ConnectionError where what listens is no head of Ray, which Ray itself would find out in minutes, line by line
    on stderr. So a process is asked that can be given up."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    where = "" if address == "auto" else f"{address} is open, but "
    try:
        asked = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_ANSWERED_SECONDS)
    except subprocess.TimeoutExpired:
        raise ConnectionError(f"{where}nothing answered as Ray's head does in {_ANSWERED_SECONDS} s") from None
    if asked.returncode:
        last = next((line for line in reversed(f"{asked.stdout}{asked.stderr}".splitlines()) if line.strip()), "")
        raise ConnectionError(f"{where}what answered is no head of Ray that this one can use: {last.strip()}")


def _fitting(ray: Any, at: Location, threads: int, gpus: float, memory_bytes: int) -> RayPool:
    """RecipeError where no node could ever run a task: Ray would wait for one to come."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    largest = {name: max([node.get(name, 0) for node in nodes], default=0) for name in ("CPU", "GPU", "memory")}
    problems = [
        Problem(f"No node of the cluster has {wanted:g} {what}.", at, why=f"the largest has {largest[name]:g}", fix=fix)
        for name, wanted, what, fix in (
            ("CPU", threads, "processors", f"--threads {max(int(largest['CPU']), 1)}"),
            ("GPU", gpus, "devices", "--device cpu without --gpus, or start nodes with `ray start --num-gpus N`"),
            ("memory", memory_bytes, "bytes of memory", f"--budget {max(int(largest['memory']) >> 21, 1)}MiB"),
        )
        if wanted > largest[name]
    ]
    if problems:
        raise RecipeError(*problems)
    return RayPool(ray, threads=threads, gpus=gpus, memory_bytes=memory_bytes)


def settings_for(address: str | None) -> Mapping[str, str]:
    """What Ray is told by the environment. The nodes of a cluster that is there were told by whoever started them."""
    return SETTINGS if address else SETTINGS | KEEPALIVES


def _imported(settings: Mapping[str, str]) -> Any:
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        problem = Problem(
            "Ray is not installed.", Location("--executor ray"), fix='pip install "mergegraph[ray]"', why=str(error)
        )
        raise RecipeError(problem) from error
