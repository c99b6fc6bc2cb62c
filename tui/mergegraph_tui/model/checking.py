"""What is wrong with the recipe as it is now: the same problems as `mergegraph check` prints, found in the background.

A `Checker` has a thread of its own that always takes the newest text; a text that a newer one overtook is never looked
at. Nothing here raises: what the engine itself fails at becomes a problem too, and `failure` says that it was that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from mergegraph.errors import Location, MergegraphError, Problem
from mergegraph.graph import Graph
from mergegraph.methods.load import Load
from mergegraph.methods.save import Save
from mergegraph.pipeline import check
from mergegraph.recipe.assemble import assemble
from mergegraph.recipe.document import parse_document
from mergegraph.recipe.load import recipe_of
from mergegraph.recipe.model import Recipe
from mergegraph.resolve import Resolved
from mergegraph_tui.model.document import UNTITLED
from mergegraph_tui.model.headers import Headers
from mergegraph_tui.model.outline import Outline, outline_of


@dataclass(frozen=True)
class Counts:
    """What was checked, in the words of `mergegraph check`. `tensors`: those of all outputs."""

    nodes: int = 0
    models: int = 0
    tensors: int = 0


@dataclass(frozen=True)
class Checked:
    """A text and what was found out about it, each stage as far as it came.

    `outline` is None for a text that is no YAML, `recipe` for one that is no valid recipe, `graph` where the wiring is
    wrong, `resolved` where the headers do not fit (or a model is not there). `is_fine`: a run would not be refused.
    `readable`: of a recipe that is not valid the nodes that are, to draw them.
    """

    text: str
    problems: tuple[Problem, ...] = ()
    outline: Outline | None = None
    recipe: Recipe | None = None
    graph: Graph | None = None
    resolved: Resolved | None = None
    counts: Counts = Counts()
    seconds: float = 0.0
    failure: str = ""
    by_node: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict[str, tuple[Problem, ...]])
    """The problems of each node as it is written: an expression has those of its inner nodes."""
    readable: Recipe | None = None

    @property
    def is_fine(self) -> bool:
        return not self.errors

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def at(self, node: str, line: int = 0) -> tuple[Problem, ...]:
        """The problems of a node, or of one line of it."""
        found = self.by_node.get(node, ())
        return tuple(problem for problem in found if not line or (problem.at is not None and problem.at.line == line))


def check_text(
    text: str, path: Path | None = None, *, folder: Path | None = None, headers: Headers | None = None
) -> Checked:
    """Everything that can be found out about `text`, which belongs to the file at `path` (or into `folder`)."""
    started = perf_counter()
    found = _Found()
    opening = headers if headers is not None else Headers()
    try:
        found.run(text, path, folder, opening)
    except MergegraphError as error:
        found.problems = error.problems
    except Exception as error:
        found.failure = f"{type(error).__name__}: {error}"
        fix = "this is a fault of mergegraph: please report it with the recipe"
        found.problems = (Problem("The check itself failed.", Location(_shown(path)), why=found.failure, fix=fix),)
    return found.checked(text, perf_counter() - started)


class Checker:
    """Checks texts in a thread of its own. `on_checked` is called there with every result, newest text last."""

    def __init__(self, on_checked: Callable[[Checked], None] = lambda checked: None) -> None:
        self._on_checked = on_checked
        self._changed = threading.Condition()
        self._waiting: tuple[str, Path | None, Path | None] | None = None
        self._is_busy = self._is_closed = False
        self._newest: Checked | None = None
        self._thread = threading.Thread(target=self._work, name="checker", daemon=True)
        self._thread.start()

    @property
    def newest(self) -> Checked | None:
        """The last result; None before the first. Its `text` says what it is about."""
        return self._newest

    def submit(self, text: str, path: Path | None = None, folder: Path | None = None) -> None:
        """Check `text` next; one that still waits is dropped."""
        with self._changed:
            self._waiting = (text, path, folder)
            self._changed.notify_all()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Until nothing is left to check; False where that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting is None and not self._is_busy, timeout_seconds)

    def close(self) -> None:
        """End the thread after what it is doing. Does not wait for it."""
        with self._changed:
            self._is_closed, self._waiting = True, None
            self._changed.notify_all()

    def _work(self) -> None:
        headers = Headers()
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting is not None or self._is_closed)
                if self._waiting is None:
                    return
                (text, path, folder), self._waiting, self._is_busy = self._waiting, None, True
            self._newest = checked = check_text(text, path, folder=folder, headers=headers)
            self._on_checked(checked)


class _Found:
    """What the stages gave so far."""

    def __init__(self) -> None:
        self.problems: tuple[Problem, ...] = ()
        self.outline: Outline | None = None
        self.recipe: Recipe | None = None
        self.graph: Graph | None = None
        self.resolved: Resolved | None = None
        self.readable: Recipe | None = None
        self.failure = ""

    def run(self, text: str, path: Path | None, folder: Path | None, headers: Headers) -> None:
        document = parse_document(text, _shown(path))
        self.outline = outline_of(document)
        around = path.absolute().parent if path else (folder or Path.cwd())
        chain = (path.resolve(),) if path else ()
        try:
            self.recipe = recipe_of(document, around, chain, (), ())
        except MergegraphError:
            draft = assemble(document, around, chain=chain)
            self.readable = Recipe(draft.name, draft.seed, draft.nodes, around, draft.file)
            raise
        self.problems = self.recipe.warnings
        self.problems = check(self.recipe, opening=headers, seen=self.see).warnings

    def see(self, stage: Graph | Resolved) -> None:
        if isinstance(stage, Graph):
            self.graph = stage
        else:
            self.graph, self.resolved = stage.graph, stage

    def checked(self, text: str, seconds: float) -> Checked:
        by_node: dict[str, tuple[Problem, ...]] = {}
        for problem in self.problems:
            name = self.written(problem.node)
            by_node[name] = (*by_node.get(name, ()), problem)
        return Checked(
            text, self.problems, self.outline, self.recipe, self.graph, self.resolved, self.counts(), seconds,
            self.failure, by_node, self.readable,
        )  # fmt: skip

    def written(self, node: str) -> str:
        """The node of the outline that a problem's node belongs to."""
        known = (self.outline or Outline()).nodes
        name = node.partition("@")[0]
        while name and name not in known:
            name = name.rpartition(".")[0]
        return name or node

    def counts(self) -> Counts:
        if self.resolved is None:
            return Counts(len(self.outline.nodes) if self.outline else 0)
        nodes = self.resolved.nodes.values()
        written = {node.written_as for node in self.resolved.graph.nodes.values()}
        models = sum(isinstance(node.method, Load) for node in nodes)
        return Counts(len(written), models, sum(len(node.tensors) for node in nodes if isinstance(node.method, Save)))


def _shown(path: Path | None) -> str:
    return str(path) if path else UNTITLED
