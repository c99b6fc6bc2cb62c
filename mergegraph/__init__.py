"""Merge fine-tuned models as a declared graph: checked, planned, and run within a memory budget.

    YAML --load--> Recipe --build--> Graph --resolve--> Resolved --plan--> Plan --run--> output folder
                                    (headers)

    recipe/      YAML to Recipe           graph.py      Recipe to checked graph
    methods/     one operation a class    resolve.py    the graph meets the headers; lineage.py
    tensors/     checkpoints as bytes     plan/         what a run will do
    execute/     the run (imports torch)  pipeline.py   the stages in a row
    builder/     recipes in Python        cli/          the command

From Python the verbs are here, each imported when it is first used:

    import mergegraph as mg

    base, code = mg.load("./models/base"), mg.load("./models/code")
    mg.save(base + 0.6 * (code - base), "out").run()

    plan = mg.make_plan(mg.load_recipe(Path("merge.yaml")), budget_bytes=2 << 30)
    mg.run(plan)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergegraph import errors as errors
    from mergegraph.builder import clamp as clamp
    from mergegraph.builder import delta as delta
    from mergegraph.builder import load as load
    from mergegraph.builder import merge as merge
    from mergegraph.builder import negate as negate
    from mergegraph.builder import node as node
    from mergegraph.builder import save as save
    from mergegraph.builder import scale as scale
    from mergegraph.builder import select as select
    from mergegraph.builder import soup as soup
    from mergegraph.builder import stack as stack
    from mergegraph.pipeline import check as check
    from mergegraph.pipeline import execute as run
    from mergegraph.pipeline import plan as make_plan
    from mergegraph.recipe.load import load_recipe as load_recipe

# `plan` and `recipe` are packages here, so the functions have other names.
_VERBS = {
    **dict.fromkeys(
        ("load", "save", "merge", "delta", "negate", "scale", "soup", "select", "stack", "clamp", "node"), "builder"
    ),
    "load_recipe": "recipe.load",
    "check": "pipeline",
    "make_plan": "pipeline:plan",
    "run": "pipeline:execute",
}

__all__ = [  # noqa: RUF022  # by use, and pinned by a test
    "load", "save", "merge", "delta", "negate", "scale", "soup", "select", "stack", "clamp", "node",
    "load_recipe", "check", "make_plan", "run", "errors",
]  # fmt: skip


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "errors":
        return import_module("mergegraph.errors")
    if name not in _VERBS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, function = _VERBS[name].partition(":")
    return getattr(import_module(f"mergegraph.{module}"), function or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
