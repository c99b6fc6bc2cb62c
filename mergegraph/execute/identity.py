"""Which result a plan gives on this machine: the name under which a run is resumed, and found to be done."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePath

import torch

from mergegraph.execute.card import copied_files, read_by
from mergegraph.execute.engine import engine_and_torch
from mergegraph.plan.encode import output_digests
from mergegraph.plan.plan import Output, Plan


@dataclass(frozen=True, slots=True)
class Identity:
    """`plan_sha256` names what is computed, wherever the inputs lie. `result_id` also what it is computed from, as the
    files were when they were planned, and by what."""

    plan_sha256: str
    result_id: str


def identified(plan: Plan, output: Output, kind: str = "cpu") -> Identity:
    """The plan's digests with what it cannot know: torch's version, the kind of device, what the CPU can do, and the
    content of the files that are copied along."""
    kernel = f"{torch.__version__}:{kind}:{torch.backends.cpu.get_cpu_capability()}"
    computed, planned = output_digests(plan, output)
    digest = hashlib.sha256(f"{planned}:{kernel}".encode())
    for name, content in copied_files(output):
        digest.update(f":{name}:{len(content)}:".encode())
        digest.update(content)
    return Identity(computed, digest.hexdigest())


def shard_key(plan: Plan, output: Output, kind: str = "cpu") -> dict[str, object]:
    """What shards of an output may differ in from those of another run, and from no other: what is computed, by what,
    from which files, laid out how. Machines that share a disk give it different device numbers, so local files count
    as the same with one name, length and time of the last change."""
    files = sorted((file.label, PurePath(file.path).name, portable(file.identity)) for file in read_by(plan, output))
    return {
        "format": 1,
        "engine": f"{engine_and_torch()} on {kind}",
        "plan": output_digests(plan, output)[0],
        "layout": output.layout.digest(),
        "inputs": [list(each) for each in files],
    }


def portable(identity: str) -> str:
    """`file:<dev>,<ino>,<size>,<mtime_ns>` without what another machine numbers in its own way; others as they are."""
    kind, _, facts = identity.partition(":")
    return f"file:{','.join(facts.split(',')[2:])}" if kind == "file" else identity
