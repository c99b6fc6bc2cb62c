"""A recipe becomes a checked graph: edges, spaces, cycles, order. networkx stays inside this file.

Knows nothing of checkpoints but the space each load node turned out to have, which the caller tells it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mergegraph.errors import Location, Problem, RecipeError, raise_errors
from mergegraph.expr import Space
from mergegraph.methods.base import Method, Path, SpaceError
from mergegraph.methods.load import Load
from mergegraph.methods.lora import Lora
from mergegraph.methods.save import Save
from mergegraph.recipe.expression import ExpressionError, expand, names
from mergegraph.recipe.model import ON_COMMAND_LINE, Expression, Node, Recipe


@dataclass(frozen=True)
class GraphNode:
    """One operation with its inputs resolved. `inputs` are node names and follow `method.edges()`."""

    name: str
    method: Method
    space: Space
    inputs: tuple[str, ...]
    source: Node

    @property
    def at(self) -> Location:
        return self.source.at

    @property
    def written_as(self) -> str:
        """The node a person wrote: an expression's inner nodes belong to the expression."""
        return self.source.within or self.source.name


@dataclass(frozen=True)
class Graph:
    """The nodes that some save needs, inputs before users, and the saves in recipe order."""

    recipe: Recipe
    nodes: Mapping[str, GraphNode]
    saves: tuple[str, ...]
    warnings: tuple[Problem, ...] = ()


@dataclass
class _Building:
    """What is known while the nodes are visited in order."""

    recipe: Recipe
    load_spaces: Mapping[str, Space]
    nodes: dict[str, GraphNode] = field(default_factory=dict[str, GraphNode])
    stands_for: dict[str, str] = field(default_factory=dict[str, str])
    problems: list[Problem] = field(default_factory=list[Problem])
    failed: set[str] = field(default_factory=set[str])


def build(recipe: Recipe, load_spaces: Mapping[str, Space] | None = None) -> Graph:
    """The graph of `recipe`. RecipeError names every wrong edge and every cycle.

    `load_spaces`: the space stored in each load node's checkpoint; weights where it is not said.
    """
    building = _Building(recipe, load_spaces or {}, failed=_unopened(recipe, load_spaces))
    order, loops = _order(recipe)
    building.problems += [_cycle_problem(recipe, looped) for looped in loops]
    building.failed.update(*loops)
    for name in order:
        node = recipe.nodes[name]
        inputs = _dependencies(node)
        if any(dependency in building.failed for dependency in inputs):
            building.failed.add(name)
        elif isinstance(node.method, Expression):
            _expand_expression(building, node, node.method)
        else:
            _place(building, node, node.method)
    building.problems += _nothing_saved(recipe)
    raise_errors(building.problems, RecipeError)
    return _needed(building)


def _unopened(recipe: Recipe, load_spaces: Mapping[str, Space] | None) -> set[str]:
    """The load nodes that no save needs: nobody looked whether they hold weights, so their users cannot be judged."""
    if load_spaces is None:
        return set()
    known = {*load_spaces, *needed_loads(recipe)}
    return {name for name, node in recipe.nodes.items() if isinstance(node.method, Load) and name not in known}


def _nothing_saved(recipe: Recipe) -> Iterator[Problem]:
    saves = [node for node in recipe.nodes.values() if isinstance(node.method, Save)]
    if saves and all(_skipped(node) for node in saves):
        first = saves[0]
        fix = "remove `skip: true` from one of them"
        yield Problem("Every save is skipped: nothing is left to do.", first.where(("skip",)), first.name, fix=fix)


def needed_loads(recipe: Recipe) -> tuple[str, ...]:
    """The load nodes that some save can reach, in recipe order; what is not needed is not opened."""
    reached = _reached(recipe)
    return tuple(name for name, node in recipe.nodes.items() if name in reached and isinstance(node.method, Load))


def needed_adapters(recipe: Recipe) -> tuple[str, ...]:
    """The lora nodes that some save can reach, in recipe order."""
    reached = _reached(recipe)
    return tuple(name for name, node in recipe.nodes.items() if name in reached and isinstance(node.method, Lora))


def _reached(recipe: Recipe) -> set[str]:
    """The nodes that some save can reach."""
    pending = [name for name, node in recipe.nodes.items() if isinstance(node.method, Save) and not _skipped(node)]
    reached: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += [*_dependencies(recipe.nodes[name]), *_vocabularies(recipe, recipe.nodes[name].method)]
    return reached


def _dependencies(node: Node) -> tuple[str, ...]:
    if isinstance(node.method, Expression):
        return names(node.method.text)
    return tuple(edge.node for edge in node.method.edges())


def _vocabularies(recipe: Recipe, method: Method | Expression) -> tuple[str, ...]:
    """The load nodes whose vocabulary a load node wants: no inputs, but they must be opened."""
    named = method.vocab.nodes if isinstance(method, Load) and method.vocab is not None else ()
    return tuple(name for name in named if name in recipe.nodes and isinstance(recipe.nodes[name].method, Load))


def _vocabulary_problems(recipe: Recipe, node: Node, method: Method) -> Iterator[Problem]:
    if not isinstance(method, Load) or method.vocab is None:
        return
    known = _vocabularies(recipe, method)
    for name in method.vocab.nodes:
        if name not in known:
            fact = f'`vocab:` takes load nodes, and "{name}" is none.'
            fix = "name the load node that its tokenizer is of"
            yield Problem(fact, at=node.where(("vocab",)), node=node.name, fix=fix)


def _order(recipe: Recipe) -> tuple[list[str], list[list[str]]]:
    """The nodes outside of cycles, inputs before users and else in recipe order; and the nodes of each cycle."""
    import networkx as nx

    wiring: nx.DiGraph[str] = nx.DiGraph()
    wiring.add_nodes_from(recipe.nodes)
    for name, node in recipe.nodes.items():
        wiring.add_edges_from((dependency, name) for dependency in _dependencies(node))
    position = {name: index for index, name in enumerate(recipe.nodes)}
    parts = [sorted(part, key=position.__getitem__) for part in nx.strongly_connected_components(wiring)]
    loops = [part for part in parts if len(part) > 1 or wiring.has_edge(part[0], part[0])]
    for looped in loops:
        wiring.remove_nodes_from(looped)
    order = list(nx.lexicographical_topological_sort(wiring, key=position.__getitem__))
    return order, sorted(loops, key=lambda looped: position[looped[0]])


def _cycle_problem(recipe: Recipe, looped: list[str]) -> Problem:
    """Walk along inputs inside the loop until a node comes round again."""
    steps = [looped[0]]
    while steps[-1] not in steps[:-1]:
        steps.append(next(name for name in _dependencies(recipe.nodes[steps[-1]]) if name in looped))
    steps = steps[steps.index(steps[-1]) :]
    shown = " needs ".join(f"{name} ({recipe.nodes[name].at})" for name in steps)
    return Problem(
        "The nodes form a cycle: each needs the next before it can be computed.",
        at=recipe.nodes[steps[0]].at,
        node=steps[0],
        why=shown,
        fix=f'take one of them out of the inputs of "{steps[0]}"',
    )


def _expand_expression(building: _Building, node: Node, expression: Expression) -> None:
    def space_of(name: str) -> Space:
        return building.nodes[building.stands_for.get(name, name)].space

    try:
        made = expand(node.name, expression.text, space_of)
    except ExpressionError as error:
        building.problems.append(error.problem.located(node.at, node.name))
        building.failed.add(node.name)
        return
    for name, method in made:
        inner = Node(name, method, node.at, {}, node.folder, within=node.name if name != node.name else node.within)
        _place(building, inner, method)


def _place(building: _Building, node: Node, method: Method) -> None:
    """Check a node's spaces and add it; or let its input stand for it when it is skipped."""
    inputs = tuple(building.stands_for.get(edge.node, edge.node) for edge in method.edges())
    spaces: list[Space] = [building.nodes[name].space for name in inputs]
    try:
        space = building.load_spaces.get(node.name, "weights") if isinstance(method, Load) else method.space(spaces)
    except SpaceError as error:
        path: Path = method.edges()[error.edge].path
        building.problems.append(Problem(f"{error}.", at=node.where(path), node=node.name, fix=error.fix))
        building.failed.add(node.name)
        return
    problems = [*_save_problems(building, node, method, space), *_vocabulary_problems(building.recipe, node, method)]
    problems += [*_skip_problems(node, method, inputs, spaces, space)]
    building.problems += problems
    if problems:
        building.failed.add(node.name)
    elif method.skip and not isinstance(method, Save):
        building.stands_for[node.name] = inputs[spaces.index(space)]
    elif not method.skip:
        building.nodes[node.name] = GraphNode(node.name, method, space, inputs, node)


def _save_problems(building: _Building, node: Node, method: Method, space: Space) -> Iterator[Problem]:
    if not isinstance(method, Save):
        return
    at = node.where(("input",))
    if space == "delta" and method.format == "weights":
        fact, fix = "A save writes weights, and its input is a delta.", _added_to_a_model(building, method.input)
        yield Problem(fact, at=at, node=node.name, fix=fix)
    if space == "weights" and method.format != "weights":
        yield Problem(
            f"`format: {method.format}` needs a delta, and its input is weights.",
            at=at,
            node=node.name,
            fix=f"subtract the base: {{op: delta, model: {method.input}, base: BASE}}; or drop `format`",
        )


def _added_to_a_model(building: _Building, delta: str) -> str:
    """What to write for weights instead of a delta; for an expression on the command line, the expression."""
    written = building.recipe.nodes[delta].method
    if building.recipe.file != ON_COMMAND_LINE or not isinstance(written, Expression):
        return f"add it to its base first: {{op: sum, inputs: [BASE, {delta}]}}; or add `format: delta`"
    models = [name for name in names(written.text) if building.nodes[name].space == "weights"]
    typed = f'-e "{models[-1]} + ({written.text})"' if models else f'-e "MODEL + ({written.text})" with -m MODEL=FOLDER'
    return f"add it to a model: {typed}; or write a recipe, where a save may say `format: delta`"


def _skip_problems(
    node: Node, method: Method, inputs: Sequence[str], spaces: Sequence[Space], space: Space
) -> Iterator[Problem]:
    if method.skip and not isinstance(method, Save) and space not in spaces:
        yield Problem(
            f"A {method.op} node cannot be skipped: none of its inputs is {space}.",
            at=node.where(("skip",)),
            node=node.name,
            fix="remove `skip: true`, or rewire the nodes that use it",
        )


def _needed(building: _Building) -> Graph:
    """Drop what no save needs, with a warning for each written node that is dropped."""
    saves = [name for name, node in building.nodes.items() if isinstance(node.method, Save)]
    saves.sort(key=list(building.recipe.nodes).index)
    reached = _ancestors(building.nodes, saves)
    wanted = {name for each in reached for name in _vocabularies(building.recipe, building.nodes[each].method)}
    while new := wanted - reached:
        reached |= new
        wanted |= {name for each in new for name in _vocabularies(building.recipe, building.nodes[each].method)}
    warnings = [
        Problem(
            f'Node "{name}" is not used by any save.',
            at=node.at,
            node=name,
            severity="warning",
            fix=f"leave {node.at} out"
            if node.at.file.startswith("-m ")
            else "remove it, or name it in another node's inputs",
        )
        for name, node in building.recipe.nodes.items()
        if name not in reached and name not in building.stands_for and not _skipped(node) and not node.within
    ]
    kept = {name: node for name, node in building.nodes.items() if name in reached}
    return Graph(building.recipe, kept, tuple(saves), (*building.recipe.warnings, *warnings))


def _skipped(node: Node) -> bool:
    return isinstance(node.method, Method) and node.method.skip


def _ancestors(nodes: Mapping[str, GraphNode], saves: Iterable[str]) -> set[str]:
    reached: set[str] = set()
    pending = list(saves)
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += nodes[name].inputs
    return reached
