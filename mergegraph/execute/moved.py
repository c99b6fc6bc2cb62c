"""Shards that other parts made of a branch of the Hub that has moved since: told before anything more is computed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from mergegraph.errors import OutputError, Problem
from mergegraph.execute.card import read_by
from mergegraph.plan.plan import Output, Plan
from mergegraph.tensors.attempts import attempts_in
from mergegraph.tensors.sources.hub_names import moved_commits

_ON_HUB = re.compile(r"hf:([^@:]+@[0-9a-f]{40}):.*", re.DOTALL)
"""The identity of a file of the Hub."""


def refuse_moved(plan: Plan) -> None:
    """OutputError for every output whose attempts are of another commit of a model than `plan` reads."""
    problems = [problem for output in plan.outputs for problem in _moved(plan, output)]
    if problems:
        raise OutputError(*problems)


def _moved(plan: Plan, output: Output) -> Iterator[Problem]:
    partial = output.path.with_name(f"{output.path.name}.partial")
    now = list(_commits(file.identity for file in read_by(plan, output)))
    for attempt in attempts_in(partial):
        before = list(_commits(_identities(attempt.key)))
        moved = moved_commits(before, now)
        if moved and attempt.key.get("layout") == output.layout.digest():
            repo = moved[0].partition(":")[0]
            old = next(each for each in before if each.startswith(f"hf://{repo}@")).removeprefix("hf://")
            yield Problem(
                f"Shards of {output.path} were made from another commit of {repo}.", at=output.at, node=output.node,
                why="; ".join(moved) + " (a branch means what it points to when a part begins)",
                fix=f"write {old} in the recipe to go on, or begin again: rm -r {partial}",
            )  # fmt: skip
            return


def _identities(key: Mapping[str, object]) -> Iterator[str]:
    """Of the inputs in an attempt's key: its label, its name and its identity each."""
    inputs = key.get("inputs")
    for each in cast("list[object]", inputs) if isinstance(inputs, list) else ():
        if isinstance(each, list) and each:
            yield str(cast("list[object]", each)[-1])


def _commits(identities: Iterable[str]) -> Iterator[str]:
    """`hf://org/name@COMMIT` of each that is on the Hub."""
    for identity in identities:
        if matched := _ON_HUB.fullmatch(identity):
            yield f"hf://{matched[1]}"
