"""`run`, once the plan is made: here, on a cluster, or one part of it."""

from __future__ import annotations

from dataclasses import dataclass

from mergegraph.cli.running import execute_plan
from mergegraph.plan.plan import Plan
from mergegraph.plan.share import Share


@dataclass(frozen=True)
class Making:
    """How `run` was asked to make a plan. `typed`: its recipe and what changes it;
    `threads` 0: as many as suit the executor; `share`: the part to make."""

    typed: str
    executor: str
    share: Share | None
    address: str | None
    threads: int
    gpus: float
    device: str
    device_budget_bytes: int | None
    download: bool
    overwrite: bool
    sync: bool
    allow_non_finite: bool
    strict_integers: bool
    verify_output: bool
    reads_back: bool
    as_json: bool
    quiet: bool


def make(plan: Plan, making: Making) -> None:
    """Make every output of `plan`, or its part. Raises what the run raises."""
    if making.download:
        _download(plan)
    if making.executor == "ray":
        _on_cluster(plan, making)
    elif making.share is not None:
        _one_part(plan, making, making.share)
    else:
        _here(plan, making)


def _download(plan: Plan) -> None:
    from mergegraph.tensors.sources.downloads import download_inputs

    download_inputs({file.path: file.identity for file in plan.inputs})


def _on_cluster(plan: Plan, making: Making) -> None:
    from mergegraph.cli.clustering import Clustering, run_on_cluster

    remaining = _remaining(plan, making)
    if remaining is None:
        return
    clustering = Clustering(
        making.address,
        making.threads,
        making.gpus or float(making.device == "cuda"),
        making.device,
        making.device_budget_bytes,
        overwrite=making.overwrite,
        allow_non_finite=making.allow_non_finite,
        verify_output=making.verify_output,
        strict_integers=making.strict_integers,
        reads_back=making.reads_back,
    )
    run_on_cluster(remaining, clustering, as_json=making.as_json, quiet=making.quiet)


def _one_part(plan: Plan, making: Making, share: Share) -> None:
    from mergegraph.cli.sharding import Sharing, make_share

    remaining = _remaining(plan, making)
    if remaining is None:
        return
    sharing = Sharing(
        making.typed,
        share,
        making.device,
        making.device_budget_bytes,
        overwrite=making.overwrite,
        allow_non_finite=making.allow_non_finite,
        strict_integers=making.strict_integers,
    )
    make_share(remaining, sharing, as_json=making.as_json, quiet=making.quiet)


def _remaining(plan: Plan, making: Making) -> Plan | None:
    """What several machines still have to make; None where all of it is in its bucket."""
    from mergegraph.cli.parts import kind_here, parts_to_make

    return parts_to_make(
        plan,
        kind_here(making.device, making.executor),
        overwrite=making.overwrite,
        as_json=making.as_json,
        quiet=making.quiet,
        by_several=making.share is not None or making.address is not None,
    )


def _here(plan: Plan, making: Making) -> None:
    execute_plan(
        plan,
        as_json=making.as_json,
        quiet=making.quiet,
        overwrite=making.overwrite,
        sync=making.sync,
        allow_non_finite=making.allow_non_finite,
        strict_integers=making.strict_integers,
        verify_output=making.verify_output,
        device=making.device,
        device_budget_bytes=making.device_budget_bytes,
    )
