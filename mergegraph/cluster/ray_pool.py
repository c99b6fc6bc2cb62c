"""Ray as a pool: one task a shard, on any node of a cluster, or on this machine alone.

Nothing but text goes through Ray: tasks and outcomes, kilobytes each. Ray retries nothing by itself; the driver does,
so that every attempt is counted. What is set here, and why, is in `docs/scale.md`.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from mergegraph.cluster.pool import Failed, Made, Ticket
from mergegraph.cluster.worker import decoded
from mergegraph.errors import Location, Problem, RecipeError

if TYPE_CHECKING:
    from types import ModuleType

SETTINGS: Final = {
    # no telemetry
    "RAY_USAGE_STATS_ENABLED": "0",
    # a host that is cut off is noticed in seconds; by default after seven minutes
    "RAY_grpc_client_keepalive_time_ms": "3000",
    "RAY_grpc_client_keepalive_timeout_ms": "3000",
    "RAY_grpc_keepalive_time_ms": "3000",
    "RAY_grpc_keepalive_timeout_ms": "3000",
    # a task that runs out of memory is ended for good after a few attempts; by default it is tried for ever
    "RAY_task_oom_retries": "2",
    "RAY_DEDUP_LOGS": "0",
}
_OBJECT_STORE_BYTES = 80 << 20
"""No tensor goes there; by default Ray takes 30 percent of the memory."""
_REACHED_SECONDS = 10
_RESERVED_BYTES = 300 << 20
"""What a worker holds beside its tiles: the interpreter, torch and the engine."""


class RayPool:
    """Tasks of `threads` processors each, or of `gpus` devices; made by `ray_pool`."""

    def __init__(self, ray: ModuleType, *, threads: int, gpus: float, memory_bytes: int) -> None:
        from mergegraph.cluster.worker import perform

        self._ray: Any = ray
        self._threads, self._gpus = threads, gpus
        self._remote: Any = self._ray.remote(
            num_cpus=threads, num_gpus=gpus, memory=memory_bytes, max_retries=0, max_calls=0
        )(perform)

    def slots(self) -> int:
        """As many tasks as all living nodes take at once."""
        return max(1, sum([self._fits(node["Resources"]) for node in self._ray.nodes() if node["Alive"]]))

    def _fits(self, resources: dict[str, float]) -> int:
        by_cpu = int(resources.get("CPU", 0) // self._threads)
        return min(by_cpu, int(resources.get("GPU", 0) // self._gpus)) if self._gpus else by_cpu

    def submit(self, task: str) -> Ticket:
        return self._remote.remote(task)

    def wait(self, tickets: Collection[Ticket], seconds: float) -> Collection[Ticket]:
        ended: Any = self._ray.wait(list(tickets), timeout=seconds) if tickets else ((), ())
        return ended[0]

    def outcome(self, ticket: Ticket) -> Made | Failed | str:
        """A worker, or a node, that is gone may be replaced by another; what else Ray says of a task is a bug here."""
        errors: Any = self._ray.exceptions
        gone = (
            errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError, errors.LocalRayletDiedError,
            errors.ObjectLostError, errors.RaySystemError, errors.TaskUnschedulableError,
        )  # fmt: skip
        try:
            return decoded(self._ray.get(ticket))
        except gone as error:
            why = " ".join(str(error).split())[:300]
            return Failed((Problem("A worker of the cluster is gone.", why=why),), 1, may_pass=True)

    def give_up(self, ticket: Ticket) -> None:
        self._ray.cancel(ticket, force=True)


@contextmanager
def ray_pool(address: str | None, *, threads: int, gpus: float, budget_bytes: int) -> Generator[RayPool]:
    """A pool on the cluster at `address` (`auto`, or `HOST:6379`), or on a new one of this machine alone.

    RecipeError where Ray is not installed, the cluster is not there, or no node is large enough.
    """
    ray = _imported()
    at = Location(f"--address {address}" if address else "--executor ray")
    try:
        if address:
            _reach(address)
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        else:
            ray.init(
                address="local", include_dashboard=False, log_to_driver=False, configure_logging=False,
                object_store_memory=_OBJECT_STORE_BYTES,
            )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:300]
        fix = "start one with `ray start --head --disable-usage-stats`, or leave --address out to use this machine"
        raise RecipeError(Problem("There is no Ray cluster to be reached.", at, why=why, fix=fix)) from error
    try:
        yield _fitting(ray, at, threads, gpus, _RESERVED_BYTES + budget_bytes)
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """OSError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_REACHED_SECONDS).close()


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


def _imported() -> Any:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        problem = Problem(
            "Ray is not installed.", Location("--executor ray"), fix='pip install "mergegraph[ray]"', why=str(error)
        )
        raise RecipeError(problem) from error
