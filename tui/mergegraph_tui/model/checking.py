"""What is wrong with the recipe as it is now: the same problems as `mergegraph check` prints.

Nothing here raises: what the engine itself fails at becomes a problem too, and `failure` says that it was that.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from mergegraph.errors import Location, MergegraphError, Problem
from mergegraph.expr import Space
from mergegraph.graph import Graph
from mergegraph.methods.load import Load
from mergegraph.methods.save import Save
from mergegraph.pipeline import check
from mergegraph.recipe.assemble import assemble
from mergegraph.recipe.document import parse_document
from mergegraph.recipe.load import recipe_of
from mergegraph.recipe.model import Recipe
from mergegraph.resolve import Resolved
from mergegraph_tui.model.checked import Checked, Counts
from mergegraph_tui.model.document import UNTITLED
from mergegraph_tui.model.headers import Headers
from mergegraph_tui.model.outline import Outline, outline_of
from mergegraph_tui.model.reading import graph_of


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
            self.failure, by_node, self.readable, self.spaces(),
        )  # fmt: skip

    def spaces(self) -> dict[str, Space]:
        if self.graph is not None:
            return {name: node.space for name, node in self.graph.nodes.items()}
        recipe = self.recipe or self.readable
        return {name: node.space for name, node in graph_of(recipe).nodes.items()} if recipe is not None else {}

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
