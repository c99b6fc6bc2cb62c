"""The files of docs/scale are what a user starts from: their commands are the command's, their numbers fit together."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from mergegraph.cli.app import app
from mergegraph.cli.options import budget_bytes, share_of
from mergegraph.cluster.ray_pool import KEEPALIVES, SETTINGS, settings_for
from mergegraph.units import parse_bytes

ROOT = Path(__file__).parents[2]
SCALE = ROOT / "docs" / "scale"
MEMORY_AT_REST = 300 << 20


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((SCALE / f"{name}.yaml").read_text())


def containers(value: Any) -> list[dict[str, Any]]:
    """All containers of a manifest, wherever they stand."""
    if isinstance(value, list):
        return [each for item in value for each in containers(item)]
    if not isinstance(value, dict):
        return []
    here = value.get("containers", [])
    return [*here, *[each for item in value.values() if item is not here for each in containers(item)]]


@pytest.fixture
def stand_ins(tmp_path: Path) -> dict[str, str]:
    """An environment in which `mergegraph` writes down what it was given and waits where it is told to."""
    (tmp_path / "bin").mkdir()
    said = tmp_path / "said"
    scripts = {
        "mergegraph": f'printf "%s\\n" $$ "$@" > {said}; [ -z "$WAITS" ] || exec sleep 60; exit "${{CODE:-0}}"',
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',  # without its own options
        "scontrol": f'printf "%s\\n" "$@" > {said}.requeued',
    }
    for name, script in scripts.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SAID": str(said)}


def options_of(arguments: list[str]) -> dict[str, Any]:
    """What the command makes of its arguments; fails for an option that it does not have."""
    group: Any = typer.main.get_command(app)
    return group.commands[arguments[0]].make_context(arguments[0], arguments[1:]).params


def said_by(environment: dict[str, str]) -> list[str]:
    return Path(environment["SAID"]).read_text().splitlines()


def test_each_pod_of_the_indexed_job_makes_a_part_of_its_own(stand_ins: dict[str, str]) -> None:
    spec = manifest("indexed-job")["spec"]
    (part,) = containers(spec)
    shares = set()
    for index in range(spec["completions"]):
        subprocess.run(part["command"], env={**stand_ins, "JOB_COMPLETION_INDEX": str(index)}, check=True)
        options = options_of(said_by(stand_ins)[1:])
        shares.add(share_of(options["shards"]))
    assert {share.number for share in shares} == set(range(1, spec["completions"] + 1))
    assert {share.count for share in shares} == {spec["completions"]}
    assert fits(options, part)


def fits(options: dict[str, Any], container: dict[str, Any]) -> bool:
    wanted = container["resources"]["requests"]
    budget = budget_bytes(options["budget"])
    assert budget is not None
    return options["threads"] <= int(wanted["cpu"]) and budget + MEMORY_AT_REST <= parse_bytes(f"{wanted['memory']}B")


def test_sigterm_reaches_the_part_and_not_its_shell(stand_ins: dict[str, str]) -> None:
    (part,) = containers(manifest("indexed-job"))
    with subprocess.Popen(part["command"], env={**stand_ins, "JOB_COMPLETION_INDEX": "0", "WAITS": "1"}) as pod:
        deadline = time.monotonic() + 20
        while not (Path(stand_ins["SAID"]).exists() and said_by(stand_ins)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert said_by(stand_ins)[0] == str(pod.pid)
        pod.send_signal(signal.SIGTERM)
        assert pod.wait(20) == -signal.SIGTERM


@pytest.mark.parametrize("name", ["indexed-job", "finalize-job"])
def test_what_would_fail_again_ends_the_job(name: str) -> None:
    spec = manifest(name)["spec"]
    (container,) = containers(spec)
    first, second = spec["podFailurePolicy"]["rules"]
    assert first["action"] == "FailJob"
    assert first["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [2, 3]}
    assert second["action"] == "Ignore"
    # the cluster takes the policy only with this
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_the_parts_are_put_together_by_a_job_of_their_own() -> None:
    (part,), (finish,) = containers(manifest("indexed-job")), containers(manifest("finalize-job"))
    assert finish["command"][0] == "mergegraph"
    recipe = options_of(finish["command"][1:])["recipe"]
    assert f"run {recipe} " in part["command"][-1]
    assert finish["volumeMounts"] == part["volumeMounts"]


def test_the_ray_job_runs_on_the_cluster_that_it_makes() -> None:
    spec = manifest("rayjob")["spec"]
    cluster = spec["rayClusterSpec"]
    program, *arguments = shlex.split(spec["entrypoint"])
    options = options_of(arguments)
    assert (program, options["executor"], options["address"]) == ("mergegraph", "ray", "auto")
    (worker,) = containers(cluster["workerGroupSpecs"])
    assert fits(options, worker)
    assert int(cluster["workerGroupSpecs"][0]["rayStartParams"]["num-cpus"]) == int(
        worker["resources"]["requests"]["cpu"]
    )
    assert spec["backoffLimit"] > 0
    assert cluster["authOptions"] == {"mode": "token"}
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert cluster["rayVersion"] == pinned[1]


def test_every_pod_of_ray_has_the_same_settings() -> None:
    for container in containers(manifest("rayjob")):
        told = {each["name"]: each["value"] for each in container["env"]}
        wanted = {**SETTINGS, **KEEPALIVES}
        assert told == {name: value for name, value in wanted.items() if name != "RAY_DEDUP_LOGS"}


def test_a_driver_does_not_ping_nodes_that_were_not_told_of_it() -> None:
    """They would close its connections, and lose what they make."""
    assert not KEEPALIVES.keys() & settings_for("10.0.0.1:6379").keys()
    assert not KEEPALIVES.keys() & settings_for("auto").keys()
    assert settings_for(None) == SETTINGS | KEEPALIVES


def test_one_image_is_built_and_named_everywhere() -> None:
    text = (SCALE / "Dockerfile").read_text()
    for name in ("indexed-job", "finalize-job", "rayjob"):
        assert {container["image"] for container in containers(manifest(name))} == {"IMAGE"}
        assert f"{name}.yaml" in text.partition("FROM")[0]
    copied = [source for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for source in line.split()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {Path(package).parts[0] for package in packages} <= set(copied)
    assert all((ROOT / source).exists() for source in copied)
    (extras,) = re.findall(r'"\.\[(.+?)\]"', text)
    assert set(extras.split(",")) == {"ray", "cloud"} <= set(project["project"]["optional-dependencies"])


SLURM = [("0", 0, False, "a part that is done"), ("75", 75, True, "preempted"), ("1", 1, False, "failed")]


@pytest.mark.parametrize(("code", "ends", "requeued", "_reason"), SLURM, ids=[row[3] for row in SLURM])
def test_a_task_of_slurm_is_requeued_where_it_was_stopped(
    stand_ins: dict[str, str], code: str, ends: int, requeued: bool, _reason: str
) -> None:
    task = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_CPUS_PER_TASK": "4", "SLURM_JOB_ID": "77", "CODE": code}
    ended = subprocess.run(["bash", SCALE / "slurm.sh", "merge.yaml", "8"], env={**stand_ins, **task}, check=False)
    assert ended.returncode == ends
    options = options_of(said_by(stand_ins)[1:])
    assert (str(share_of(options["shards"])), options["threads"]) == ("3/8", 4)
    assert Path(f"{stand_ins['SAID']}.requeued").exists() is requeued
