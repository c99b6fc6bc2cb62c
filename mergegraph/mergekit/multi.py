"""Several documents to one graph: a document's `name` stands for its result in the others, and nothing is written
between them. What no other document uses is saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mergegraph.mergekit.config import Merge, Reference
from mergegraph.mergekit.emitting import Nodes
from mergegraph.mergekit.parameters import Findings
from mergegraph.mergekit.places import Places, identifier
from mergegraph.mergekit.saving import save_fields
from mergegraph.mergekit.slicing import Workshop, layer_count, merge_nodes
from mergegraph.mergekit.vocabulary import Alignment, alignment
from mergegraph.mergekit.writing import NodeText


@dataclass
class Graph:
    """The nodes so far. `results`: the node of every finished document, `layers`: how many layers a node has,
    `tensors`: the names of its tensors, where they are known.
    """

    nodes: Nodes
    findings: Findings
    fix: bool
    results: dict[str, str] = field(default_factory=dict[str, str])
    layers: dict[str, int | None] = field(default_factory=dict[str, int | None])
    tensors: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def write_nodes(
    merges: Sequence[Merge], places: Places, name: str, templates: str, findings: Findings, *, fix: bool
) -> tuple[list[NodeText], dict[str, str]]:
    """The nodes of all documents, and the chat templates to write: file name to text.

    `name` is the configuration's own; a template is referred to as `templates` + its file name.
    """
    graph = Graph(Nodes(places), findings, fix)
    _check_names(merges, findings)
    named = {merge.name: merge for merge in merges if merge.name}
    order = _in_order(merges, named, findings)
    if findings.errors():
        return [], {}
    used = {reference.text for merge in merges for reference in references(merge)}
    saved = [merge for merge in merges if merge.name not in used or not merge.name]
    if len(merges) > 1:
        # The names of results are the configuration's own, and go before those made from models' folders.
        graph.nodes.names.taken |= {identifier(each) for each in named}
    files: dict[str, str] = {}
    finished: list[tuple[Merge, str, Alignment | None]] = []
    for merge in order:
        finished.append((merge, *_document(merge, graph, is_alone=len(merges) == 1, named=named)))
    for merge, node, aligned in finished:
        if merge not in saved:
            continue
        folder = merge.name if merge.name and (len(saved) > 1 or len(merges) == 1) else name
        fields, template = save_fields(merge, node, aligned, graph.nodes, folder, templates, findings)
        files |= template
        graph.nodes.add("out" if len(saved) == 1 else f"out_{identifier(folder)}", fields, merge.at)
    return graph.nodes.written(), files


def references(merge: Merge) -> Iterator[Reference]:
    """Every model that a merge names."""
    for piece in merge.slices:
        yield from (source.model for source in piece.sources)
    if merge.base is not None:
        yield merge.base


def _document(
    merge: Merge, graph: Graph, *, is_alone: bool, named: Mapping[str, Merge]
) -> tuple[str, Alignment | None]:
    """The nodes of one document: its result, and how its vocabularies are brought together."""
    aligned = alignment(merge, named, graph.nodes, graph.findings)

    def node_of(reference: Reference) -> str:
        if reference.text in graph.results:
            return graph.results[reference.text]
        vocab = aligned.vocab_of(reference.text) if aligned else None
        node = graph.nodes.load(reference.text, vocab, reference.at)
        if node not in graph.layers:
            graph.layers[node] = graph.nodes.places.layer_count(reference.text)
            graph.tensors[node] = graph.nodes.places.tensors(reference.text)
        return node

    word = identifier(merge.name) if merge.name and not is_alone else "merged"
    prefix = f"{word}_" if merge.name and not is_alone else ""
    if prefix:
        graph.nodes.names.taken.discard(word)

    def tensors_of(node: str) -> tuple[str, ...]:
        return graph.tensors.get(node, ())

    shop = Workshop(graph.nodes, graph.findings, node_of, graph.layers.get, tensors_of, graph.fix)
    node = merge_nodes(merge, shop, word, prefix)
    graph.results |= {merge.name: node} if merge.name and not is_alone else {}
    graph.layers.setdefault(node, layer_count(merge))
    return node, aligned


def _check_names(merges: Sequence[Merge], findings: Findings) -> None:
    seen: set[str] = set()
    for merge in merges:
        if merge.name in seen:
            fact = f'Two documents are called "{merge.name}".' if merge.name else "Two documents have no name."
            findings.error(fact, merge.at, "give each document a `name:` of its own; one may have none")
        seen.add(merge.name)


def _in_order(merges: Sequence[Merge], named: Mapping[str, Merge], findings: Findings) -> list[Merge]:
    """Each document after those it uses; an error where they use each other in a circle."""
    order: list[Merge] = []
    entered: list[str] = []

    def visit(merge: Merge, at: Reference | None) -> None:
        if merge in order:
            return
        if merge.name and merge.name in entered:
            circle = " -> ".join([*entered[entered.index(merge.name) :], merge.name])
            where = at.at if at else merge.at
            findings.error(f"The documents use each other in a circle: {circle}.", where, "take one of the uses out")
            return
        entered.append(merge.name)
        for reference in references(merge):
            if reference.text in named and len(merges) > 1:
                visit(named[reference.text], reference)
        entered.pop()
        order.append(merge)

    for merge in merges:
        visit(merge, None)
    return order
