"""What a worker does with a task: make the shard, and say as text how it went. It commits nothing.

Errors travel as data, since an exception's class and cause may not survive the way.
"""

from __future__ import annotations

import errno
import json
import socket
import time
from dataclasses import replace
from typing import Any

from mergegraph.cluster.pool import Failed, Made
from mergegraph.errors import DoesNotFit, Location, MergegraphError, Problem
from mergegraph.execute.devices import devices_for
from mergegraph.execute.identity import portable
from mergegraph.execute.running import Options
from mergegraph.execute.sharing import Part, make_part
from mergegraph.plan.plan import InputFile
from mergegraph.plan.task import task_from_json
from mergegraph.tensors.local_file import opened
from mergegraph.tensors.sources.retry import GaveUp

_PASSING = {
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE,
    errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EAGAIN,
}  # fmt: skip
"""What a disk or a network may get over. A full disk does not."""


def perform(task: str) -> str:
    """Make the shards of a task (JSON: `task`, and how to run it); the outcome as JSON. Without a `task`: the kind of
    the device that it would be made on."""
    said: dict[str, Any] = json.loads(task)
    began = time.monotonic()
    try:
        devices = devices_for(said["device"], said["device_budget_bytes"])
        kind = devices.kind if devices else "cpu"
        if "task" not in said:
            return json.dumps({"kind": kind})
        if kind != said["kind"]:
            raise DoesNotFit(_another_kind(kind, said["kind"]))
        made = task_from_json(said["task"], workers=said["threads"])
        plan = replace(made.plan, inputs=tuple([_as_here(file) for file in made.plan.inputs]))
        part = Part(plan, made.keys, {"part": said["part"]}, made.populations, creates=False)
        report = make_part(part, Options(allow_non_finite=said["allow_non_finite"], devices=devices))
    except MergegraphError as error:
        return _encoded(Failed(error.problems, error.exit_code, _may_pass(error)))
    except OSError as error:
        where = error.filename or "the worker's machine"
        return _encoded(Failed((Problem(f"{where}: {error.strerror}."),), 1, error.errno in _PASSING))
    seconds = time.monotonic() - began
    done = Made(seconds, report.read_bytes, report.write_bytes, report.measured_bytes, socket.gethostname())
    return _encoded(done)


def _as_here(file: InputFile) -> InputFile:
    """The same file with the device and inode that this machine knows it by, if it is the same; else as it was, and the
    reader says what is wrong."""
    if not file.identity.startswith("file:"):
        return file
    try:
        with opened(file.path) as here:
            same = portable(here.identity) == portable(file.identity)
            return replace(file, identity=here.identity) if same else file
    except OSError:
        return file


def _another_kind(kind: str, wanted: str) -> Problem:
    return Problem(
        f"{socket.gethostname()} computes on {kind}, and the run began on {wanted}.",
        why="devices of two kinds may differ in the last bit, so an output is made on one",
        fix="give the cluster nodes of one kind, or --device cpu",
    )


def _may_pass(error: MergegraphError) -> bool:
    """Whether what failed was the way to the bytes, and not the bytes."""
    cause: BaseException | None = error
    while (cause := cause.__cause__) is not None:
        if isinstance(cause, TimeoutError | ConnectionError | GaveUp) or getattr(cause, "errno", None) in _PASSING:
            return True
    return False


def _encoded(outcome: Made | Failed) -> str:
    if isinstance(outcome, Made):
        facts: dict[str, object] = {name: getattr(outcome, name) for name in Made.__slots__}
        return json.dumps({"made": facts})
    problems = [
        {**{name: getattr(each, name) for name in ("fact", "node", "tensor", "model", "why", "fix", "severity")},
         "at": [each.at.file, each.at.line] if each.at else None}
        for each in outcome.problems
    ]  # fmt: skip
    return json.dumps({"failed": problems, "exit_code": outcome.exit_code, "may_pass": outcome.may_pass})


def decoded(text: str) -> Made | Failed | str:
    """The outcome that `perform` wrote; a kind of device as it is."""
    said: dict[str, Any] = json.loads(text)
    if "kind" in said:
        return str(said["kind"])
    if "made" in said:
        return Made(**said["made"])
    return Failed(tuple([_problem(each) for each in said["failed"]]), said["exit_code"], said["may_pass"])


def _problem(said: dict[str, Any]) -> Problem:
    at: Any = said.pop("at")
    return Problem(at=Location(*at) if at else None, **said)
