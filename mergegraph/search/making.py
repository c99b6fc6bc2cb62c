"""Candidates become folders, by the engine: each alone, or from the running average of the soup so far.

The running average of k members is stored in float32 as `(k-1)/k · average + 1/k · member`, so a step of a greedy
search reads two models, whatever the size of the soup. It differs from the soup's own recipe in the last bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mergegraph.errors import InputError, Location, Problem
from mergegraph.methods.linear import Soup
from mergegraph.methods.load import Load
from mergegraph.methods.save import Save
from mergegraph.pipeline import execute, plan
from mergegraph.plan.plan import Plan
from mergegraph.recipe.adapters import with_adapters
from mergegraph.recipe.model import Node, Recipe
from mergegraph.search.candidates import Candidate
from mergegraph.tensors.completed import completed
from mergegraph.tensors.disk import delete
from mergegraph.tensors.missing import find

WORK = "work"
RUNNING = "running"


@dataclass(frozen=True)
class Made:
    """A model on disk. `digest` stands for its tensors where mergegraph made it; `is_own`: to be deleted after use."""

    folder: Path
    digest: str = ""
    is_own: bool = False


@dataclass(frozen=True)
class Maker:
    """Makes the candidates of one search in `place`. `references`: of the models, by name, relative to `folder`."""

    place: Path
    folder: Path
    references: Mapping[str, str]
    budget_bytes: int | None
    allow_unrelated: bool

    def planned(self, recipe: Recipe, output: Path | None = None) -> Plan:
        return plan(
            recipe,
            budget_bytes=self.budget_bytes,
            output=output or self.place / WORK / "model",
            allow_unrelated=self.allow_unrelated,
        )

    def recipe_id(self, recipe: Recipe) -> str:
        """What the bytes of its result depend on, hashed."""
        return _result_id(self.planned(recipe))

    def make(self, candidate: Candidate, *, cheap: bool) -> Made:
        """The candidate's folder. What a merge raises comes through."""
        if candidate.single:
            path = _here(candidate.single, self.folder)
            if path.is_dir():
                return Made(path)
        name = hashlib.sha256(candidate.label.encode()).hexdigest()[:16]
        if cheap and candidate.grown is not None:
            return self.run(self.from_running(candidate), self.place / WORK / f"grown-{name}", candidate)
        return self.run(candidate.recipe, self.place / WORK / name, candidate)

    def run(self, recipe: Recipe, output: Path, candidate: Candidate | None = None) -> Made:
        """The output of a recipe with one save; what stands there is replaced unless it is the same result."""
        from mergegraph.execute.run import Options

        planned = self.planned(recipe, output)
        there = completed(output)
        stands = there is not None and there.result_id == _result_id(planned)
        execute(planned, Options(overwrite=not stands, sync=False))
        return Made(output, digest(output), is_own=candidate is not None)

    def sources(self, candidate: Candidate) -> list[tuple[str, int]]:
        """The folders and weights that a soup is the average of: the model that is added, and the running average."""
        assert candidate.grown is not None
        added = _here(self.references[candidate.grown.added], self.folder)
        running = self.running(candidate.grown.before)
        return [(str(added), 1), (str(running), len(candidate.grown.before))]

    def running(self, members: tuple[str, ...]) -> Path:
        """The folder with the average of `members`: made from that of all but the last, where it is there."""
        if len(members) == 1:
            return _here(self.references[members[0]], self.folder)
        place = self.place / RUNNING / hashlib.sha256(json.dumps(members).encode()).hexdigest()[:16]
        before = self.running(members[:-1])
        average = self._average(before, len(members) - 1, members[-1], dtype="float32")
        self.run(average, place)
        for other in (self.place / RUNNING).iterdir():
            if other != place:
                delete(other)
        return place

    def from_running(self, candidate: Candidate) -> Recipe:
        assert candidate.grown is not None
        before, added = candidate.grown.before, candidate.grown.added
        return self._average(self.running(before), len(before), added, dtype=None)

    def _average(self, before: Path, weight: int, added: str, dtype: str | None) -> Recipe:
        """`(weight · before + added) / (weight + 1)`; names, dtypes and files are those of what is added."""

        def node(name: str, method: Load | Soup | Save) -> Node:
            return Node(name, method, Location("the running average"), {}, self.folder)

        loads = with_adapters(node("added", Load.model_validate({"model": self.references[added]})))
        inputs = ({"from": "added", "weight": 1.0}, {"from": "before", "weight": float(weight)})
        nodes = [
            *loads,
            node("before", Load.model_validate({"model": str(before.absolute())})),
            node("average", Soup.model_validate({"inputs": inputs})),
            node("out", Save.model_validate({"input": "average", "dtype": dtype})),
        ]
        return Recipe("running", 0, {each.name: each for each in nodes}, self.folder, "the running average")


def digest(folder: Path) -> str:
    """The checksums of an output's tensors, hashed; "" where it is no output of mergegraph."""
    there = completed(folder)
    if there is None or not there.tensors:
        return ""
    sums = {name: facts.get("xxh3_128") for name, facts in there.tensors.items()}
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def _here(reference: str, folder: Path) -> Path:
    """The folder or file of a model. InputError for one on a server: an evaluator opens what lies here."""
    place = find(reference, folder)
    if isinstance(place, Path):
        return place
    why = "a candidate is handed to an evaluator as a folder of this machine"
    fix = "download it (`hf download org/name --local-dir models/name`), and write ./models/name"
    raise InputError(Problem(f"A search takes no models of servers: {reference}.", why=why, fix=fix))


def weights_bytes(folder: Path) -> int:
    """The bytes of the weights in a folder, or of the file."""
    if folder.is_file():
        return folder.stat().st_size
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _result_id(planned: Plan) -> str:
    from mergegraph.execute.identity import identified

    (output,) = planned.outputs
    return identified(planned, output).result_id
