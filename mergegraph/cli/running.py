"""`run`: a plan is executed while a reporter looks at its progress."""

from __future__ import annotations

import sys
from contextlib import ExitStack

from mergegraph.cli.reporters import report_json, reporter
from mergegraph.errors import MergegraphError
from mergegraph.execute.devices import devices_for
from mergegraph.execute.events import Publisher
from mergegraph.execute.executors.nothing import nothing
from mergegraph.execute.executors.threads import threads
from mergegraph.execute.run import Options
from mergegraph.pipeline import execute
from mergegraph.plan.plan import Plan
from mergegraph.runs.ending import error_json
from mergegraph.runs.registering import registered


def execute_plan(
    plan: Plan,
    *,
    as_json: bool,
    quiet: bool,
    overwrite: bool,
    sync: bool,
    allow_non_finite: bool,
    strict_integers: bool,
    verify_output: bool,
    device: str,
    device_budget_bytes: int | None,
    made_on: str = "",
) -> None:
    """Run it and report. Raises what the run raises, and RecipeError for a device that is not there.

    `made_on`: the kind of device that made what is on disk; nothing is computed then, and RunError is raised where a
    tensor is missing.
    """
    devices = devices_for(device, device_budget_bytes)
    publisher = Publisher()
    with registered(sys.argv[1:], {o.node: o.path for o in plan.outputs}) as registration, ExitStack() as stack:
        telling = reporter(stack, as_json=as_json, quiet=quiet)
        telling.planned(plan)
        options = Options(
            overwrite=overwrite,
            sync=sync,
            allow_non_finite=allow_non_finite,
            strict_integers=strict_integers,
            verify_output=verify_output,
            devices=devices,
            executor=nothing if made_on else threads,
            made_on=made_on,
            on_tick=lambda: telling.tick(publisher.progress),
        )
        try:
            report = execute(plan, options, publisher)
        except MergegraphError as error:
            registration.end(error_json(error.problems, error.exit_code))
            raise
        registration.end(report_json(plan, report))
        telling.done(plan, report)
