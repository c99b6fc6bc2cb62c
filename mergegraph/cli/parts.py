"""What is looked at before parts of a run are made or put together: buckets, and shards that are there already."""

from __future__ import annotations

from mergegraph.cli.running import execute_plan
from mergegraph.execute.delivering import delivered
from mergegraph.execute.devices import devices_for
from mergegraph.execute.moved import refuse_moved
from mergegraph.plan.output_paths import require_shared_staging
from mergegraph.plan.plan import Plan


def parts_to_make(
    plan: Plan, kind: str, *, overwrite: bool, as_json: bool, quiet: bool, by_several: bool = False
) -> Plan | None:
    """The plan of what is not in a bucket yet; None, once it is said, where all of it is. OutputError where something
    else is there, or shards of another commit of an input. `kind`: of the device; "" where it is not known yet, and so
    not whether an output is there. `by_several`: machines that need one staging folder."""
    if by_several:
        require_shared_staging(plan.outputs)
    refuse_moved(plan)
    if not kind or not any(output.destination for output in plan.outputs):
        return plan
    remaining = plan.without(delivered(plan, kind, overwrite=overwrite))
    if remaining.outputs:
        return remaining
    execute_plan(
        plan, as_json=as_json, quiet=quiet, overwrite=False, sync=True, allow_non_finite=True, strict_integers=False,
        verify_output=False, device="cpu", device_budget_bytes=None, made_on=kind,
    )  # fmt: skip
    return None


def kind_here(device: str, executor: str) -> str:
    """The kind of device that parts are made on; "" where only the workers of a cluster know."""
    if executor == "ray":
        return "" if device.startswith("cuda") else "cpu"
    devices = devices_for(device)
    return devices.kind if devices else "cpu"
