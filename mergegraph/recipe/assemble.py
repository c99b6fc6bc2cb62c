"""One recipe document, and the recipes it includes, to nodes. Finds everything that is wrong before it gives up.

The order: settings from the command line, parameters, `models:`, `include:` and `nodes:` as they are written, globs of
checkpoints; then every node name that a node uses must exist. Knows nothing of spaces, cycles or unused nodes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from mergegraph.errors import Location, Problem, RecipeError, did_you_mean
from mergegraph.methods.base import Method, Path
from mergegraph.methods.save import Save
from mergegraph.recipe import override, template
from mergegraph.recipe.checkpoints import NoCheckpoints, expanded
from mergegraph.recipe.document import Document, nearest
from mergegraph.recipe.grammar import NAME, ExpressionError, names_in
from mergegraph.recipe.includes import open_include, read_include, under_name, unused_seed
from mergegraph.recipe.model import Expression, Node, expanded_from
from mergegraph.recipe.override import Setting
from mergegraph.recipe.scalars import Value, as_text
from mergegraph.recipe.template import Given
from mergegraph.recipe.validate import read_method, shown
from mergegraph.recipe.wiring import named_nodes

VERSION = 1
_KEYS = ("mergegraph", "name", "description", "seed", "parameters", "models", "include", "nodes")
_OUTPUT_KEYS = ("output", "outputs", "save")
_SAVES = "a result is saved by a node: out: {op: save, input: NODE, path: ./out}"
_MERGEKIT_KEYS = ("merge_method", "slices", "base_model")
_MODEL_KEYS = ("model_type", "architectures", "weight_map", "peft_type", "added_tokens")
_MAX_SEED = 2**64


@dataclass
class Draft:
    """What one document gives. `unreadable` are names of nodes that could not be read (with a dot at the end: of all
    nodes of an include); nothing is said about who uses them."""

    file: str
    folder: FilePath
    name: str = ""
    seed: int = 0
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    unreadable: set[str] = field(default_factory=set[str])
    problems: list[Problem] = field(default_factory=list[Problem])

    def is_unreadable(self, name: str) -> bool:
        ends = [index + 1 for index, letter in enumerate(name) if letter == "."]
        return name in self.unreadable or any(name[:end] in self.unreadable for end in ends)


def assemble(
    document: Document,
    folder: FilePath,
    settings: Iterable[Setting] = (),
    *,
    given: Given | None = None,
    chain: tuple[FilePath, ...] = (),
) -> Draft:
    """The nodes of `document`, which lies in `folder`. RecipeError when it is no recipe at all.

    `given`: values for its parameters, where it is included; `chain`: the files that include it, outermost first.
    """
    _check_is_recipe(document)
    document = copy.deepcopy(document)
    applied = override.apply(document, settings)
    filled = template.fill(document, given)
    assembling = _Assembling(document, Draft(document.file, folder), filled.unfilled, applied.for_includes, chain)
    assembling.draft.problems += [*document.problems, *applied.problems, *filled.problems]
    assembling.read()
    return assembling.draft


def _check_is_recipe(document: Document) -> None:
    at, top = Location(document.file), document.value
    example = "write mergegraph: 1, then nodes:"
    if top is None:
        raise RecipeError(Problem("The recipe is empty.", at, fix=example))
    if not isinstance(top, dict):
        raise RecipeError(Problem(f"A recipe is a mapping, and this is {shown(top)}.", at, fix=example))
    mergekit = [key for key in _MERGEKIT_KEYS if key in top]
    if mergekit and "mergegraph" not in top:
        why = f"it has `{mergekit[0]}:` and no `mergegraph:`"
        fix = f"mergegraph import {document.file} -o recipe.yaml"
        fact = "This is a mergekit configuration, not a recipe."
        raise RecipeError(Problem(fact, document.where((mergekit[0],)), why=why, fix=fix))
    if "search" in top and "nodes" not in top:
        fix = f"mergegraph search {document.file}"
        raise RecipeError(Problem("This is a search, not a recipe.", document.where(("search",)), fix=fix))
    of_model = [key for key in _MODEL_KEYS if key in top]
    if of_model and "mergegraph" not in top:
        fact = "This is a file of a model, not a recipe."
        why = f"it has `{of_model[0]}:` and no `mergegraph:`"
        fix = f"mergegraph info {FilePath(document.file).parent}"
        raise RecipeError(Problem(fact, document.where((of_model[0],)), why=why, fix=fix))
    version = top.get("mergegraph", VERSION)
    if version != VERSION or isinstance(version, bool):
        fact = f"The recipe has format version {shown(version)}; this mergegraph reads version {VERSION}."
        is_text = version == str(VERSION)
        fix = (
            f"without quotes: mergegraph: {VERSION}"
            if is_text
            else "write mergegraph: 1, or use a mergegraph that knows the version"
        )
        raise RecipeError(Problem(fact, document.where(("mergegraph",)), fix=fix))


class _Assembling:
    """One document on its way to a draft."""

    def __init__(
        self,
        document: Document,
        draft: Draft,
        unfilled: set[Path],
        for_includes: Mapping[str, list[Setting]],
        chain: tuple[FilePath, ...],
    ) -> None:
        assert isinstance(document.value, dict)
        self.document, self.draft, self.top = document, draft, document.value
        self.for_includes, self.chain = for_includes, chain
        self.included: set[str] = set()
        self.unfilled = {path[:2] for path in unfilled}
        self.lines: dict[Path, dict[Path, Location]] = {}
        for path, at in document.lines.items():
            if len(path) > 2:
                self.lines.setdefault(path[:2], {})[path[2:]] = at

    def problem(self, fact: str, path: Path, fix: str, node: str = "") -> None:
        self.draft.problems.append(Problem(fact, self.document.where(path), node, fix=fix))

    def read(self) -> None:
        self.read_top()
        readers: dict[str, Callable[[str, Value], None]] = {
            "models": self.read_model,
            "include": self.read_include,
            "nodes": self.read_node,
        }
        for section, entries in self.top.items():
            if section not in readers or entries is None:
                continue
            if not isinstance(entries, dict):
                self.problem(
                    f"`{section}:` takes a mapping of names, not {shown(entries)}.",
                    (section,),
                    f"write {section}: {{NAME: …}}",
                )
                continue
            for name, value in entries.items():
                self.read_entry(section, name, value, readers[section])
        origins = expanded_from(self.draft.nodes)
        self.draft.nodes = {
            name: Node(name, node.method, node.at, node.lines, node.folder, origins[name])
            for name, node in self.draft.nodes.items()
        }
        self.check_names()

    def read_top(self) -> None:
        if "mergegraph" not in self.top:
            self.problem("The recipe does not say its format version.", (), "add the line mergegraph: 1")
        for key in self.top:
            if key not in _KEYS:
                fix = _SAVES if key in _OUTPUT_KEYS else did_you_mean(key, _KEYS, "it has")
                self.problem(f'A recipe has no "{key}" at the top.', (key,), fix)
        for key in ("name", "description"):
            text = self.top.get(key)
            if text is not None and not isinstance(text, str):
                self.problem(f"`{key}:` takes text, not {shown(text)}.", (key,), f'write {key}: "{as_text(text)}"')
        name, seed = self.top.get("name"), self.top.get("seed", 0)
        self.draft.name = name if isinstance(name, str) else FilePath(self.draft.file).stem
        if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < _MAX_SEED:
            self.draft.seed = seed
        elif ("seed",) not in self.unfilled:
            self.problem(f"`seed:` takes a whole number from 0, not {shown(seed)}.", ("seed",), "write seed: 7")

    def read_entry(self, section: str, name: str, value: Value, read: Callable[[str, Value], None]) -> None:
        """One name of a section: it must be a name, a new one, and have its parameters."""
        path = (section, name)
        if not re.fullmatch(NAME, name) or (section == "include" and not name.isidentifier()):
            word = re.sub(r"\W", "_", name) or "node"
            better = word if word.isidentifier() else f"n_{word}"
            self.problem(f'"{name}" cannot be a name.', path, f"use letters, digits and underscores: {better}", name)
            self.draft.unreadable.add(name)
        earlier = self.earlier(name, section)
        if earlier:
            fix = f"rename one of them, for example {name}_2"
            self.draft.problems.append(
                Problem(
                    f'Two things are called "{name}".',
                    self.document.where(path),
                    name,
                    why=f"the first is at {earlier}",
                    fix=fix,
                )
            )
        elif path in self.unfilled:
            self.draft.unreadable.add(f"{name}." if section == "include" else name)
        else:
            read(name, value)

    def earlier(self, name: str, section: str) -> Location | None:
        """Where `name` is already taken by a node, or by another section of this file."""
        if name in self.draft.nodes:
            return self.draft.nodes[name].at
        for other, entries in self.top.items():
            if other == section:
                return None
            if other in ("models", "include", "nodes") and isinstance(entries, dict) and name in entries:
                return self.document.where((other, name))
        return None

    def read_model(self, name: str, value: Value) -> None:
        at = self.document.where(("models", name))
        if isinstance(value, dict):
            fix = f"write it under nodes: instead, as {name}: {{op: load, model: …}}"
            self.unreadable(name, [Problem("`models:` takes a reference, not a mapping.", at, name, fix=fix)])
            return
        self.take(name, read_method(name, {"op": "load", "model": value}, lambda path: at), at, {("model",): at})

    def read_node(self, name: str, value: Value) -> None:
        path = ("nodes", name)
        at, lines = self.document.where(path), self.lines.get(path, {})
        if isinstance(value, str):
            try:
                names_in(value)
            except ExpressionError as error:
                self.unreadable(name, [error.problem.located(at, name)])
                return
            self.take(name, Expression(value), at, lines)
        elif isinstance(value, dict):
            self.take(name, read_method(name, value, lambda inner: nearest(lines, inner) or at), at, lines)
        else:
            fix = "write {op: …}, or an expression such as base + 0.5*(a - base)"
            fact = f"A node is a mapping with `op:` or an expression, not {shown(value)}."
            self.unreadable(name, [Problem(fact, at, name, fix=fix)])

    def take(
        self,
        name: str,
        method: Method | Expression | tuple[Problem, ...],
        at: Location,
        lines: Mapping[Path, Location],
    ) -> None:
        """Add the node, with the checkpoints its glob stands for; or what is wrong with it."""
        if isinstance(method, tuple):
            self.unreadable(name, method)
            return
        try:
            nodes = expanded(Node(name, method, at, lines, self.draft.folder))
        except NoCheckpoints as error:
            self.unreadable(name, [error.problem])
            return
        self.draft.nodes |= {node.name: node for node in nodes}

    def unreadable(self, name: str, problems: Iterable[Problem]) -> None:
        self.draft.unreadable.add(name)
        self.draft.problems += problems

    def read_include(self, name: str, value: Value) -> None:
        try:
            include = read_include(self.document, name, value)
            document, path = open_include(self.document, self.draft.folder, include, self.chain)
            settings = self.for_includes.get(name, ())
            inner = assemble(document, path.parent, settings, given=include.given, chain=(*self.chain, path))
        except RecipeError as error:
            self.unreadable(f"{name}.", error.problems)
            return
        nodes, warnings = under_name(name, inner.nodes.values())
        self.draft.nodes |= nodes
        self.draft.problems += [*inner.problems, *warnings, *unused_seed(document)]
        self.draft.unreadable |= {f"{name}.{other}" for other in inner.unreadable}
        self.included |= nodes.keys()

    def check_names(self) -> None:
        """Every node that a node of this file names must exist, and give tensors."""
        for node in self.draft.nodes.values():
            if node.name not in self.included:
                self.draft.problems += self.name_problems(node)

    def name_problems(self, node: Node) -> Iterator[Problem]:
        for path, name in named_nodes(node.method):
            target = self.draft.nodes.get(name)
            if target is None and not self.draft.is_unreadable(name):
                known = [
                    other
                    for other, each in self.draft.nodes.items()
                    if other != node.name and not isinstance(each.method, Save)
                ]
                fix = did_you_mean(name, known, "nodes")
                yield Problem(f'There is no node "{name}".', node.where(path), node.name, fix=fix)
            elif target is not None and isinstance(target.method, Save):
                fix = f'name what it saves: "{target.method.input}"'
                yield Problem(
                    f'"{name}" is a save node: nothing comes out of it.', node.where(path), node.name, fix=fix
                )
