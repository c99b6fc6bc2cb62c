"""`check` and `plan`: what is found out before anything is computed. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mergegraph.cli.terminal import note, say, say_json, say_text
from mergegraph.errors import Problem, problem_json
from mergegraph.units import format_count

if TYPE_CHECKING:
    from mergegraph.plan.plan import Plan
    from mergegraph.recipe.model import Recipe


def show_check(recipe: Recipe, *, allow_unrelated: bool, max_header_bytes: int, as_json: bool) -> None:
    """Warnings, then one line that says what was checked. Errors are raised."""
    from mergegraph.methods.load import Load
    from mergegraph.methods.save import Save
    from mergegraph.pipeline import check

    resolved = check(recipe, allow_unrelated=allow_unrelated, max_header_bytes=max_header_bytes)
    written = {node.written_as for node in resolved.graph.nodes.values()}
    models = sum(isinstance(node.method, Load) for node in resolved.nodes.values())
    tensors = sum(len(node.tensors) for node in resolved.nodes.values() if isinstance(node.method, Save))
    counts = {"nodes": len(written), "models": models, "tensors": tensors}
    if as_json:
        warnings = [problem_json(problem) for problem in resolved.warnings]
        say_json({"kind": "check", "ok": True, **counts, "warnings": warnings})
        return
    show_warnings(resolved.warnings)
    shown = ", ".join(format_count(count, noun.removesuffix("s")) for noun, count in counts.items())
    warned = f", {format_count(len(resolved.warnings), 'warning')}" if resolved.warnings else ""
    say(f"{recipe.file}: fine ({shown}{warned})")


def show_plan(plan: Plan, *, explained: bool, as_json: bool) -> None:
    """The plan, feasible or not. DoesNotFit afterwards when it is not."""
    if as_json:
        from mergegraph.pipeline import collector_paused
        from mergegraph.plan.encode import plan_json

        with collector_paused():
            say_json({"kind": "plan", **plan_json(plan)})
    else:
        from mergegraph.plan.text import explain, plan_text

        show_warnings(plan.warnings)
        say_text(plan_text(plan))
        if explained:
            say()
            for line in explain(plan):
                say(line)
    plan.validate()


def show_warnings(warnings: Iterable[Problem]) -> None:
    """Each warning on stderr."""
    for problem in warnings:
        note(str(problem))
