"""Which result a plan gives on this machine: the name under which a run is resumed, and found to be done."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from mergegraph.execute.card import copied_files
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
