"""Where a run computes: what `--device` means on this machine, and the executor that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.execute.device import Device
from mergegraph.execute.device.cuda import CudaDevice
from mergegraph.execute.executors import Executor
from mergegraph.execute.executors.cuda import OnDevices
from mergegraph.execute.memory import warm_up
from mergegraph.plan.plan import Plan, default_workers
from mergegraph.plan.staging import Staging, stage_for

_SHARE_OF_FREE = 0.9
"""Of a device's free memory a run takes at most so much when nobody says."""


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """Where a run computed: `tensors` of its computed ones there. Bytes are of each device; `measured` is torch's
    peak."""

    name: str
    tensors: int = 0
    pool_bytes: int = 0
    budget_bytes: int = 0
    measured_bytes: int = 0


ON_CPU = DeviceReport("cpu")


@dataclass
class Devices:
    """Devices of one kind. `kind` says what decides the bytes: `cuda (sm_90)`; `budget_bytes` is for each."""

    kind: str
    name: str
    devices: Sequence[Device]
    budget_bytes: int | None = None
    _staging: Staging | None = field(default=None, init=False)
    _budget: int = field(default=0, init=False)

    def prepare(self, plan: Plan) -> Plan:
        """The plan with what the host holds beside the devices. DoesNotFit where a budget is too small."""
        free = min([int(device.free_bytes() * _SHARE_OF_FREE) for device in self.devices])
        self._budget = free if self.budget_bytes is None else self.budget_bytes
        host = plan.projection
        self._staging, projected = stage_for(
            plan.groups, plan.gatherings, host.budget_bytes, self._budget, host.workers or default_workers(plan.groups),
            len(self.devices),
        )  # fmt: skip
        return replace(plan, projection=projected)

    def executor(self) -> Executor:
        assert self._staging is not None, "prepare comes first"
        return OnDevices(self.devices, self._staging)

    def report(self, tensors: int) -> DeviceReport:
        """What a run that computed so many tensors here says of it."""
        assert self._staging is not None, "prepare comes first"
        measured = max([device.peak_bytes() for device in self.devices])
        return DeviceReport(self.name, tensors, self._staging.pool_bytes, self._budget, measured)


def devices_for(wanted: str, budget_bytes: int | None = None) -> Devices | None:
    """What `--device` means here: None is the processor. RecipeError for a device that is not there."""
    kind, _, which = automatic() if wanted == "auto" else wanted.partition(":")
    if kind == "cpu":
        return None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    chosen = range(count) if which == "all" else [int(which or 0)]
    if not count or max(chosen) >= count:
        raise RecipeError(_absent(wanted, count))
    return _cuda(list(chosen), budget_bytes)


def automatic() -> tuple[str, str, str]:
    """`auto`, taken apart as `--device` is: the CPU, since a merge waits for disks more than for arithmetic, and its
    bytes are then the same on machines with and without a device."""
    return "cpu", "", ""


def _cuda(indexes: Sequence[int], budget_bytes: int | None) -> Devices:
    """The devices, with their contexts made: what those take of the host counts as reserved. RecipeError where they
    are of several kinds."""
    kinds = {torch.cuda.get_device_capability(index) for index in indexes}
    if len(kinds) > 1:
        raise RecipeError(
            Problem(
                "The CUDA devices are of several kinds.",
                Location("--device cuda:all"),
                why=", ".join(f"cuda:{index} is {torch.cuda.get_device_name(index)}" for index in indexes),
                fix=f"--device cuda:{indexes[0]}",
            )
        )
    for index in indexes:
        warm_up(torch.device("cuda", index))
    ((major, minor),) = kinds
    names = ", ".join(f"cuda:{index}" for index in indexes)
    return Devices(
        f"cuda (sm_{major}{minor})",
        f"{names} ({torch.cuda.get_device_name(indexes[0])})",
        [CudaDevice(index) for index in indexes],
        budget_bytes,
    )


def _absent(wanted: str, count: int) -> Problem:
    at = Location(f"--device {wanted}")
    if not torch.cuda.is_available():
        why = (
            "the driver shows no device" if torch.backends.cuda.is_built() else
            f"torch {torch.__version__} here is built for the CPU only"
        )  # fmt: skip
        return Problem("There is no CUDA device here.", at, why=why, fix="--device cpu, or leave it out")
    there = ", ".join(f"cuda:{index}" for index in range(count))
    return Problem(f"There is no device {wanted} here.", at, why=f"there are {there}", fix=f"--device cuda:{count - 1}")
