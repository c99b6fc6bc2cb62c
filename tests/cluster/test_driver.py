"""What the driver does when workers are lost, fail, say nothing, or come late; with the real worker and no engine."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from mergegraph.cluster.driver import Asked, Policy, Progress, drive, kind_of_workers
from mergegraph.cluster.pool import Failed, Made, Ticket
from mergegraph.cluster.worker import decoded, perform
from mergegraph.errors import DoesNotFit, Interrupted, OutputError, Problem, RunError
from mergegraph.execute.adopting import adopt
from mergegraph.execute.control import Control
from mergegraph.plan.plan import Plan
from mergegraph.plan.shards import shards_of
from tests.execute.merging import merged, planned, tree
from tests.tiny_models import llama_tensors, write_model

LOST = Failed((Problem("A worker of the cluster is gone."),), 1, may_pass=True)
FULL = Failed((Problem("No space left on device while writing."),), 3, may_pass=False)
NODES = (
    "".join(f"{name}: {{op: load, model: ./{name}}}\n" for name in ("base", "code"))
    + "d: {op: ties, inputs: [code], base: base, density: 0.4, scope: model}\nm: {op: sum, inputs: [base, d]}\n"
    + "out: {op: save, input: m, path: out, max_shard_size: 20KB}"
)


@dataclass
class Scripted:
    """A pool whose n-th task ends as `script` says: made (None), some failure, never ("silent"), or after it waited for
    a worker for a while ("queued")."""

    script: dict[int, Failed | str] = field(default_factory=dict)
    wide: int = 2
    submitted: list[dict[str, Any]] = field(default_factory=list)
    given_up: list[Ticket] = field(default_factory=list)
    before_wait: Callable[[], None] = lambda: None
    slots_now: Callable[[], int] | None = None
    began_at: dict[Ticket, float] = field(default_factory=dict)
    waits_in_vain: int = 3

    def slots(self) -> int:
        return self.wide if self.slots_now is None else self.slots_now()

    def began(self, ticket: Ticket) -> float | None:
        return self.began_at.get(ticket)

    def submit(self, task: str) -> Ticket:
        self.submitted.append(json.loads(task))
        ticket = len(self.submitted) - 1
        if self.script.get(ticket) != "queued":
            self.began_at[ticket] = time.monotonic()
        return ticket

    def wait(self, tickets: Collection[Ticket], seconds: float) -> Collection[Ticket]:
        self.before_wait()
        assert len(tickets) <= self.wide + 1
        ready = [ticket for ticket in tickets if self.script.get(ticket) not in ("silent", "queued")]  # type: ignore[call-overload]
        if not ready and (queued := [each for each in tickets if self.script.get(each) == "queued"]):  # type: ignore[call-overload]
            time.sleep(0.1)
            self.waits_in_vain -= 1
            ready = queued if self.waits_in_vain < 0 else []
        return ready[:1]

    def outcome(self, ticket: Ticket) -> Made | Failed:
        planned_end = self.script.get(ticket)  # type: ignore[call-overload]
        if isinstance(planned_end, Failed):
            return planned_end
        return decoded(perform(json.dumps(self.submitted[ticket])))  # type: ignore[call-overload]

    def give_up(self, ticket: Ticket) -> None:
        self.given_up.append(ticket)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = llama_tensors(4, 32, 64, dtype=torch.bfloat16)
    for seed, name in enumerate(("base", "code")):
        tensors = base if not seed else llama_tensors(seed=seed, noise_of=base, scale=0.3, dtype=torch.bfloat16)
        write_model(folder / name, tensors, config={"model_type": "llama"})
    return folder


@pytest.fixture(scope="module")
def whole(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    merged(planned(models, NODES, output=str(out)))
    return tree(out)


def plan_of(models: Path, out: Path) -> Plan:
    return planned(models, NODES, output=str(out))


def driven(plan: Plan, pool: Scripted, **policy: float) -> Progress:
    return drive(plan, pool, Asked(threads=1), policy=Policy(poll_seconds=0.01, **policy))  # type: ignore[arg-type]


def test_every_shard_is_made_once_and_the_output_is_that_of_one_run(
    models: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    plan, pool = plan_of(models, tmp_path / "out"), Scripted()
    progress = driven(plan, pool)
    count = len(shards_of(plan))
    assert (progress.done, progress.total, len(pool.submitted)) == (count, count, count)
    assert all(max(map(len, map(json.dumps, task["task"]["inputs"]))) < 500 for task in pool.submitted)
    adopt(plan)
    merged(plan)
    assert tree(tmp_path / "out") == whole


def test_workers_find_no_statistics_of_whole_models_again(models: Path, tmp_path: Path) -> None:
    """The driver found them, and a shard reads its own tensors alone."""
    plan = plan_of(models, tmp_path / "out")
    progress = driven(plan, Scripted())
    assert plan.gatherings
    assert progress.read_bytes == 2 * plan.outputs[0].layout.total_bytes


def test_lost_workers_are_replaced(models: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    plan, pool = plan_of(models, tmp_path / "out"), Scripted({0: LOST, 1: LOST, 2: LOST, 5: LOST})
    progress = driven(plan, pool)
    assert sum(progress.again.values()) == 4
    adopt(plan)
    merged(plan)
    assert tree(tmp_path / "out") == whole


def test_a_shard_that_fails_again_and_again_ends_the_run(models: Path, tmp_path: Path) -> None:
    plan, pool = plan_of(models, tmp_path / "out"), Scripted(dict.fromkeys(range(99), LOST), wide=1)
    with pytest.raises(RunError, match="4 attempts"):
        driven(plan, pool)
    assert len(pool.submitted) == 4
    assert not (tmp_path / "out.partial").exists()


def test_a_full_disk_is_not_tried_again(models: Path, tmp_path: Path) -> None:
    pool = Scripted({1: FULL})
    with pytest.raises(DoesNotFit, match="No space left"):
        driven(plan_of(models, tmp_path / "out"), pool)
    assert len(pool.submitted) <= 3


def test_a_silent_worker_gets_a_second_one_beside_it(models: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    plan, pool = plan_of(models, tmp_path / "out"), Scripted({1: "silent"})
    progress = driven(plan, pool, patience=0.0, least_patience_seconds=0.05)
    assert progress.second >= 1
    assert 1 in pool.given_up
    adopt(plan)
    merged(plan)
    assert tree(tmp_path / "out") == whole


def test_what_waits_for_a_worker_is_not_handed_out_twice(models: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    plan = plan_of(models, tmp_path / "out")
    pool = Scripted({len(shards_of(plan)) - 1: "queued"}, wide=1)
    assert driven(plan, pool, patience=0.0, least_patience_seconds=0.02, first_patience_seconds=0.02).second == 0
    assert pool.waits_in_vain < 0
    adopt(plan)
    merged(plan)
    assert tree(tmp_path / "out") == whole


def test_a_cluster_that_has_lost_every_node_is_said_and_given_up(models: Path, tmp_path: Path) -> None:
    plan, told = plan_of(models, tmp_path / "out"), []
    pool = Scripted()
    pool.slots_now = lambda: 2 if len(pool.submitted) < 2 else 0
    policy = Policy(poll_seconds=0.01, empty_seconds=0.1)
    with pytest.raises(RunError, match="no node that can make a shard") as caught:
        drive(plan, pool, Asked(threads=1), policy=policy, on_tick=lambda now: told.append(now.waits_for))
    assert "2 of" in (caught.value.problems[0].why or "")
    assert "ray start --address" in (caught.value.problems[0].fix or "")
    assert {0.0, 0.1} == set(told)


def test_a_cluster_whose_nodes_come_back_goes_on(models: Path, tmp_path: Path) -> None:
    plan, pool = plan_of(models, tmp_path / "out"), Scripted()
    asked = iter([2, 0, 0, 0])
    pool.slots_now = lambda: next(asked, 2)
    assert driven(plan, pool, empty_seconds=60.0).done == len(shards_of(plan))


def test_a_folder_that_cannot_be_written_is_said_with_what_to_do(models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made: Not a directory") as caught:
        driven(plan_of(models, tmp_path / "file" / "out"), Scripted())
    assert "write to another path" in (caught.value.problems[0].fix or "")


def test_a_second_attempt_waits_for_its_time(models: Path, tmp_path: Path) -> None:
    pool = Scripted()
    assert driven(plan_of(models, tmp_path / "out"), pool).second == 0


def test_what_an_earlier_driver_left_is_not_made_again(models: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    plan, count = plan_of(models, tmp_path / "out"), len(shards_of(plan_of(models, tmp_path / "out")))
    control, pool = Control(), Scripted()
    pool.before_wait = lambda: control.stop(signal.SIGTERM) if len(pool.submitted) == 4 else None
    with pytest.raises(Interrupted, match="complete shards are kept"):
        drive(plan, pool, Asked(threads=1), policy=Policy(poll_seconds=0.01), control=control)
    again = driven(plan, Scripted())
    assert 0 < again.already < count
    assert again.already + again.done == count
    adopt(plan)
    merged(plan)
    assert tree(tmp_path / "out") == whole


def test_two_drivers_do_not_share_an_output(models: Path, tmp_path: Path) -> None:
    plan, pool = plan_of(models, tmp_path / "out"), Scripted()

    def second() -> None:
        with pytest.raises(OutputError, match="Another run is writing"):
            driven(plan, Scripted())

    pool.before_wait = second
    driven(plan, pool)


def test_a_worker_that_comes_too_late_leaves_nothing(models: Path, tmp_path: Path) -> None:
    plan, pool = plan_of(models, tmp_path / "out"), Scripted()
    driven(plan, pool)
    adopt(plan)
    merged(plan)
    late = decoded(perform(json.dumps(pool.submitted[0])))
    assert isinstance(late, Failed)
    assert "any more" in late.problems[0].fact
    assert not (tmp_path / "out.partial").exists()


def test_a_worker_whose_machine_numbers_the_disk_differently_takes_the_same_files(
    models: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    plan = plan_of(models, tmp_path / "out")

    class Elsewhere(Scripted):
        def submit(self, task: str) -> Ticket:
            said = json.loads(task)
            for each in said["task"]["inputs"]:
                device, inode, *rest = each[3].removeprefix("file:").split(",")
                each[3] = f"file:{int(device) + 1},{int(inode) + 1},{','.join(rest)}"
            return super().submit(json.dumps(said))

    driven(plan, Elsewhere())
    adopt(plan)
    merged(plan)
    assert tree(tmp_path / "out") == whole


def test_a_worker_on_another_kind_of_device_makes_nothing(models: Path, tmp_path: Path) -> None:
    plan, pool = plan_of(models, tmp_path / "out"), Scripted()
    with pytest.raises(DoesNotFit, match="computes on cpu, and the run began on cuda"):
        drive(plan, pool, Asked(threads=1, kind="cuda (sm_90)"), policy=Policy(poll_seconds=0.01))
    assert not (tmp_path / "out.partial").exists()


def test_the_kind_of_device_is_the_workers(models: Path) -> None:
    assert kind_of_workers(Scripted(), "cpu") == "cpu"
    with pytest.raises(OutputError, match="no CUDA device"):
        kind_of_workers(Scripted(), "cuda")


def test_a_worker_tells_what_will_pass_from_what_will_not(models: Path, tmp_path: Path) -> None:
    plan, pool = plan_of(models, tmp_path / "out"), Scripted()
    driven(plan, pool)
    task = pool.submitted[0]
    for change, may_pass in (
        ({"inputs": [[*each[:3], "file:1,2,3,4", each[4]] for each in task["task"]["inputs"]]}, False),
        ({"budget_bytes": 1}, False),
    ):
        outputs = [{**output, "path": str(tmp_path / "other")} for output in task["task"]["outputs"]]
        (tmp_path / "other.partial" / "attempts").mkdir(parents=True, exist_ok=True)
        outcome = decoded(perform(json.dumps({**task, "task": {**task["task"], "outputs": outputs, **change}})))
        assert isinstance(outcome, Failed)
        assert outcome.may_pass is may_pass
        assert outcome.problems[0].fix
