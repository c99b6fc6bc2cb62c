"""One merge to nodes: every slice is cut out of its models and merged by itself, then the pieces are stacked.

So a gradient runs over the layers of its slice, the first slice gives the embeddings and the last the final norm and
the head, as in mergekit. Where a slice is the whole model, as most are, nothing is cut and nothing is stacked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mergegraph.errors import Location
from mergegraph.mergekit.config import Merge, Reference, Slice, Source
from mergegraph.mergekit.emitting import Nodes
from mergegraph.mergekit.inputs import check_levels, chosen
from mergegraph.mergekit.merging import Merging, Operand
from mergegraph.mergekit.methods import emit
from mergegraph.mergekit.parameters import Findings, Scope, is_one
from mergegraph.mergekit.places import tensors_within
from mergegraph.mergekit.writing import Noted, Tree

_NO_LAYERS = 0


@dataclass(frozen=True)
class Workshop:
    """What a merge is made with. `node_of` gives the node of a model, `layers_of` how many layers a node has and
    `tensors_of` the names of its tensors, none where they are not known.
    """

    nodes: Nodes
    findings: Findings
    node_of: Callable[[Reference], str]
    layers_of: Callable[[str], int | None]
    tensors_of: Callable[[str], tuple[str, ...]]
    fix: bool


@dataclass(frozen=True, slots=True)
class _Piece:
    """Layers of a node; None for all of them."""

    node: str
    layers: tuple[int, int] | None


def merge_nodes(merge: Merge, shop: Workshop, result: str, prefix: str) -> str:
    """Add the nodes of `merge`; the one with its result, called `result` where it has a node of its own.

    Other new nodes have names that begin with `prefix`.
    """
    check_levels(merge, shop.findings)
    pieces: list[_Piece] = []
    first_layer = 0
    for number, piece in enumerate(merge.slices, 1):
        is_only = len(merge.slices) == 1
        name = result if is_only else f"{prefix}part_{number}"
        made = _piece(merge, piece, shop, first_layer, name, prefix if is_only else f"{name}_")
        if made is not None:
            pieces.append(made)
        first_layer += piece.layer_count or _NO_LAYERS
    match pieces:
        case []:
            return result
        case [_Piece(node, None)]:
            return node
        case [_Piece(node, layers)] if shop.layers_of(node) is not None and layers == (0, shop.layers_of(node)):
            return node
        case _:
            slices: list[Tree] = [_slice(each, at.at) for each, at in zip(pieces, merge.slices, strict=False)]
            return shop.nodes.add(result, {"op": "stack", "slices": slices}, merge.at)


def layer_count(merge: Merge) -> int | None:
    """How many layers the result has, where the configuration alone says it."""
    counts = [piece.layer_count for piece in merge.slices]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _slice(piece: _Piece, at: Location) -> Tree:
    assert piece.layers is not None
    return Noted({"from": piece.node, "layers": f"{piece.layers[0]}:{piece.layers[1]}"}, "", at)


def _piece(merge: Merge, piece: Slice, shop: Workshop, first_layer: int, name: str, prefix: str) -> _Piece | None:
    """A slice, merged; None where it cannot be."""
    before = len(shop.findings.errors())
    inputs = chosen(merge, piece, shop.findings, fix=shop.fix)
    if len(shop.findings.errors()) > before:
        return None
    levels = (piece.parameters, merge.parameters)
    tensors = _tensors(inputs.base or inputs.inputs[0], shop)
    at = piece.at if merge.in_slices else merge.at
    scope = Scope(levels, piece.layer_count, first_layer, tensors, shop.fix, shop.findings, at)
    if merge.method == "passthrough":
        (source,) = inputs.inputs
        place = (_first(source), _tensors(source, shop))
        by = scope.own("scale", source.parameters, place, 1.0, source.model.text, source.model.at)
        if is_one(by, 1.0):
            return _Piece(shop.node_of(source.model), source.layers)
    base = _operand(inputs.base, shop) if inputs.base else None
    operands = tuple(_operand(source, shop) for source in inputs.inputs)
    node = emit(Merging(merge.method, operands, base, scope, shop.nodes, prefix, name))
    return _Piece(node, None if piece.layer_count is None or len(merge.slices) == 1 else (0, piece.layer_count))


def _operand(source: Source, shop: Workshop) -> Operand:
    node = shop.node_of(source.model)
    if source.layers is not None and (0, shop.layers_of(node)) != source.layers:
        node = shop.nodes.cut(node, source.layers, source.model.at)
    tensors = _tensors(source, shop)
    return Operand(node, source.model.text, source.parameters, _first(source), tensors, source.model.at)


def _tensors(source: Source, shop: Workshop) -> tuple[str, ...]:
    return tensors_within(shop.tensors_of(shop.node_of(source.model)), source.layers)


def _first(source: Source) -> int:
    return source.layers[0] if source.layers else 0
