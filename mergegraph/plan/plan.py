"""The Plan: what a run will read, compute, write and hold in memory, as one frozen value.

Made from a resolved graph without torch; shown as text or JSON (`plan/text.py`, `plan/encode.py`); run by
`mergegraph.execute`. An infeasible plan can still be built and shown: `validate` raises.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mergegraph.errors import DoesNotFit, Location, Problem, raise_errors
from mergegraph.expr import Expr, Space
from mergegraph.plan.compile import Comparison
from mergegraph.plan.groups import Gathering, Group, OutputTensor, gatherings, group_outputs, read_bytes
from mergegraph.plan.memory import Projection
from mergegraph.plan.projecting import too_large
from mergegraph.plan.survey import Survey
from mergegraph.tensors.layout import Layout
from mergegraph.tensors.sources.location import is_remote

NUMERIC_VERSION = 1
"""Changes when the engine would give other bytes for the same plan; part of every result id."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that the run reads, with the identity it must still have then.

    `label` is the node that loads it, `reference` the model it is of, as the recipe names it.
    """

    label: str
    path: str
    file_bytes: int
    identity: str
    reference: str


@dataclass(frozen=True, slots=True)
class Sidecars:
    """The files beside the weights. `copies` are (name, source path); `config` is config.json as it will be.

    `licence` is what the cards of all inputs agree on, "" where they do not. `written` are (name, text) of files that
    are no copies: a tokenizer that grew, settings whose token ids moved.
    """

    config: Mapping[str, Any]
    copies: tuple[tuple[str, str], ...]
    chat_template: str
    base_models: tuple[str, ...]
    licence: str
    written: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Output:
    """One save: where it goes, its tensors in storage order, how they lie in its files.

    `destination` is the URI of an output that goes to an object store; `path` is where it is made before.
    """

    node: str
    computed_by: str
    at: Location
    path: Path
    space: Space
    tensors: tuple[OutputTensor, ...]
    layout: Layout
    sidecars: Sidecars
    destination: str = ""

    @property
    def place(self) -> str:
        """Where it is when it is done."""
        return self.destination or str(self.path)


@dataclass(frozen=True)
class Plan:
    """Everything a run needs. `gatherings`, the statistics of whole models, are found first, in their order; then
    `groups` run in theirs: by output file, inputs read forward.

    `unread` are load nodes that no output needs a byte of, because they cancel out.
    """

    name: str
    seed: int
    recipe_text: str
    inputs: tuple[InputFile, ...]
    unread: tuple[str, ...]
    outputs: tuple[Output, ...]
    gatherings: tuple[Gathering, ...]
    groups: tuple[Group, ...]
    comparisons: tuple[Comparison, ...]
    projection: Projection
    warnings: tuple[Problem, ...]
    surveys: tuple[Survey, ...] = ()
    """What the statistics of each output look at; nothing where none are kept."""

    def roots(self, group: Group) -> list[Expr]:
        """The expressions of a group, in order."""
        return [self.outputs[output].tensors[tensor].root for output, tensor in group.members]

    def without(self, nodes: Sequence[str]) -> Plan:
        """The plan of the other outputs; the projection stays, since it can only be too large."""
        if not nodes:
            return self
        kept = [index for index, output in enumerate(self.outputs) if output.node not in nodes]
        outputs = tuple([self.outputs[index] for index in kept])
        surveys = tuple([self.surveys[index] for index in kept]) if self.surveys else ()
        gathered = gatherings([output.tensors for output in outputs])
        groups = group_outputs(outputs, surveys)
        return replace(self, outputs=outputs, gatherings=gathered, groups=groups, surveys=surveys)

    @cached_property
    def read_bytes(self) -> int:
        """Bytes of tensors that the run reads, over all passes: in each, a shared read once."""
        gathered = sum(each.passes * read_bytes(work) for each in self.gatherings for work, _ in each.members)
        return gathered + sum(read_bytes(group.computation) for group in self.groups)

    @cached_property
    def passes(self) -> int:
        """How often the run goes through the tensors, at most."""
        gathered = sum(each.passes for each in self.gatherings)
        return gathered + max((len(group.computation.program.passes) for group in self.groups), default=1)

    @cached_property
    def write_bytes(self) -> int:
        return sum(output.layout.total_bytes for output in self.outputs)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why the plan cannot run as it is."""
        needed, budget = self.projection.pool_bytes, self.projection.budget_bytes
        if needed <= budget:
            return ()
        return (too_large(self.outputs, self.groups, self.projection),)

    def validate(self) -> None:
        """DoesNotFit when the plan cannot run inside its budget."""
        raise_errors(self.problems, DoesNotFit)


MOST_TILE_WORKERS = 8
"""More workers wait for memory and files. Measured on 16 processors, 1.1 B bf16: soup of 2 in 2.8, 1.7, 1.1, 1.1 and
1.4 s with 1, 2, 4, 8 and 16 workers; ties in 18.3, 9.9, 8.8 and 11.2 s with 2, 4, 8 and 16; dare in 5.6, 3.4, 2.4
and 2.1."""


def default_workers(groups: Iterable[Group], inputs: Iterable[InputFile] = ()) -> int:
    """One worker for each processor this process may use where whole matrices are computed, else few of them; as many
    as wait well for servers, where inputs are there."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    has_matrices = any([group.computation.program.granularity == "matrix" for group in groups])
    if any([is_remote(file.path) for file in inputs]):
        return max(processors, MOST_TILE_WORKERS) if not has_matrices else processors
    return processors if has_matrices else min(processors, MOST_TILE_WORKERS)
