"""Candidates become folders, by the engine: each alone, or from the running average of the soup so far.

The running average of k members is stored in float32 as `(k-1)/k · average + 1/k · member`, so a step of a greedy
search reads two models, whatever the size of the soup. It differs from the soup's own recipe in the last bits.
Models whose tensors or dtypes differ have no running average: what they would give is not what the recipe gives.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mergegraph.errors import InputError, Location, Problem
from mergegraph.methods.linear import Soup
from mergegraph.methods.load import Load
from mergegraph.methods.save import Save
from mergegraph.pipeline import execute, plan
from mergegraph.plan.plan import Plan
from mergegraph.recipe.model import Node, Recipe
from mergegraph.search.candidates import Candidate
from mergegraph.tensors.checkpoint import open_checkpoint
from mergegraph.tensors.completed import CARD, PROVENANCE, RUN_RECORD, STATEMENT, completed
from mergegraph.tensors.disk import delete
from mergegraph.tensors.missing import find

WORK = "work"
RUNNING = "running"
_ABOUT_THE_MERGE = (PROVENANCE, RUN_RECORD, STATEMENT, CARD)


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
    _states: dict[str, str] = field(default_factory=dict[str, str])

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
        """The folders and weights that a soup is the average of: the running average, and the model that is added."""
        assert candidate.grown is not None
        before = candidate.grown.before
        added = _here(self.references[candidate.grown.added], self.folder)
        return [(str(self.running(before)), len(before)), (str(added), 1)]

    def running(self, members: tuple[str, ...]) -> Path:
        """The folder with the average of `members`, made from the longest beginning of them that is there."""
        if len(members) == 1:
            return _here(self.references[members[0]], self.folder)
        places = {count: self._running_place(members[:count]) for count in range(2, len(members) + 1)}
        made = max((count for count, place in places.items() if completed(place) is not None), default=1)
        before = places.get(made) or _here(self.references[members[0]], self.folder)
        for count in range(made + 1, len(members) + 1):
            self.run(self._average(before, count - 1, members[count - 1], dtype="float32"), places[count])
            before = places[count]
        for other in (self.place / RUNNING).iterdir():
            if other != before:
                delete(other)
        return before

    def from_running(self, candidate: Candidate) -> Recipe:
        assert candidate.grown is not None
        before, added = candidate.grown.before, candidate.grown.added
        return self._average(self.running(before), len(before), added, dtype=None)

    def _running_place(self, members: tuple[str, ...]) -> Path:
        """Called after the models and the state of their files, so that it is there only while it is right."""
        named = json.dumps([self._state(name) for name in members])
        return self.place / RUNNING / hashlib.sha256(named.encode()).hexdigest()[:16]

    def _state(self, name: str) -> str:
        if name not in self._states:
            load, save = self._node("model", Load.model_validate({"model": self.references[name]})), Save(input="model")
            recipe = Recipe("model", 0, {"model": load, "out": self._node("out", save)}, self.folder, "the model")
            self._states[name] = self.recipe_id(recipe)
        return self._states[name]

    def _average(self, before: Path, weight: int, added: str, dtype: str | None) -> Recipe:
        """`(weight · before + added) / (weight + 1)`. Names and dtypes are those of what is added, files those of what
        was there: the soup's own recipe has both from its first member, and they are alike."""
        inputs = ({"from": "added", "weight": 1.0}, {"from": "before", "weight": float(weight)})
        nodes = [
            self._node("added", Load.model_validate({"model": self.references[added]})),
            self._node("before", Load.model_validate({"model": str(before.absolute())})),
            self._node("average", Soup.model_validate({"inputs": inputs})),
            self._node("out", Save(input="average", dtype=dtype, files_from="before")),
        ]
        return Recipe("running", 0, {each.name: each for each in nodes}, self.folder, "the running average")

    def _node(self, name: str, method: Load | Soup | Save) -> Node:
        return Node(name, method, Location("the running average"), {}, self.folder)


def are_alike(references: Iterable[str], folder: Path) -> bool:
    """Whether all are checkpoints with the same tensors in the same dtypes: then a soup can grow from its running
    average. An adapter is none."""
    layouts: list[dict[str, object]] = []
    for reference in references:
        try:
            checkpoint = open_checkpoint(reference, folder)
        except InputError:
            return False
        layouts.append({name: (stored.shape, stored.dtype) for name, stored in checkpoint.tensors.items()})
    return all(layout == layouts[0] for layout in layouts)


def digest(folder: Path) -> str:
    """The checksums of an output's tensors and of its other files, hashed; "" where it is no output of mergegraph."""
    there = completed(folder)
    if there is None or not there.tensors:
        return ""
    sums: dict[str, object] = {name: facts.get("xxh3_128") for name, facts in there.tensors.items()}
    for path in folder.iterdir():
        if path.suffix != ".safetensors" and path.name not in _ABOUT_THE_MERGE and path.is_file():
            with path.open("rb") as file:
                sums[f"file {path.name}"] = hashlib.file_digest(file, "sha256").hexdigest()
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
