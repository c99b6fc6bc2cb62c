"""The records of a finished output, from the plan and what the run found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import torch

from mergegraph.execute.card import engine_version, read_by
from mergegraph.execute.identity import Identity
from mergegraph.plan.plan import InputFile, Output, Plan
from mergegraph.provenance.record import NOT_COMPUTED, Device, Input, Provenance, RunInput, Tensor, encode
from mergegraph.provenance.statement import statement
from mergegraph.provenance.writing import beside_of, run_record, weights_of
from mergegraph.tensors.completed import PROVENANCE, RUN_RECORD, STATEMENT
from mergegraph.tensors.sources.location import is_remote
from mergegraph.tensors.writer import OutputFolder, SmallFile


def inputs_of(plan: Plan, output: Output) -> list[InputFile]:
    """The files an output is made from, in an order that does not depend on where they lie."""
    return sorted(read_by(plan, output), key=lambda file: (file.label, Path(file.path).name))


def write_records(
    plan: Plan,
    output: Output,
    folder: OutputFolder,
    identity: Identity,
    facts: Mapping[str, Mapping[str, object]],
    sha256: Mapping[str, str],
    *,
    started: float,
    verified: bool,
    kind: str,
) -> None:
    """Put the records into a folder whose other files are written; a statement for others too where it was verified.

    `facts`: what was counted of this run's tensors. `sha256` as in `provenance`; of every file if `verified`.
    """
    facts = {**folder.finished_facts, **facts}
    record = provenance(plan, output, identity.plan_sha256, folder.checksums, facts, folder.sidecars, sha256, kind)
    folder.write_sidecar(PROVENANCE, encode(record))
    itself = folder.sidecars[PROVENANCE].sha256
    if verified:
        digests = {each.file: each.sha256 for each in (*record.weights, *record.beside)}
        folder.write_sidecar(STATEMENT, statement(record, {**digests, PROVENANCE: itself}))
    resumed = len(folder.finished)
    inputs = tuple(RunInput(path=file.path, identity=file.identity) for file in inputs_of(plan, output))
    last = run_record(inputs, identity.result_id, itself, started=started, resumed=resumed, verified=verified)
    folder.write_sidecar(RUN_RECORD, last)


def provenance(
    plan: Plan,
    output: Output,
    plan_sha256: str,
    checksums: Mapping[str, str],
    facts: Mapping[str, Mapping[str, object]],
    beside: Mapping[str, SmallFile],
    sha256: Mapping[str, str],
    kind: str,
) -> Provenance:
    """`facts`: what was counted of a tensor beside its checksum. `sha256`: of files by path, or by name for those of
    the output; where it was computed."""
    return Provenance(
        mergegraph=2,
        name=plan.name,
        versions={"mergegraph": engine_version(), "torch": torch.__version__, "numpy": version("numpy")},
        device=Device(kind=kind, capability=torch.backends.cpu.get_cpu_capability()),
        seed=plan.seed,
        space=output.space,
        recipe=plan.recipe_text,
        recipe_sha256=hashlib.sha256(plan.recipe_text.encode()).hexdigest(),
        plan_sha256=plan_sha256,
        inputs=tuple(_input(file, sha256) for file in inputs_of(plan, output)),
        weights=weights_of(output.layout, sha256),
        beside=beside_of(output.layout, beside),
        tensors={
            name: Tensor.model_validate({"xxh3_128": checksum, **facts.get(name, {})})
            for name, checksum in checksums.items()
        },
    )


def _input(file: InputFile, sha256: Mapping[str, str]) -> Input:
    name = Path(file.path).name
    digest = sha256.get(file.path, NOT_COMPUTED)
    source = file.path if is_remote(file.path) else ""
    return Input(node=file.label, model=file.reference, file=name, bytes=file.file_bytes, sha256=digest, source=source)
