"""Models assembled from runs of layers of other models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from mergegraph.errors import Problem, RecipeError
from mergegraph.expr import Expr, Space
from mergegraph.fields import Slice, Weights
from mergegraph.methods.base import Assembly, Method, NodeTensors, Parameters, TensorType
from mergegraph.naming import layer_counts, renumbered, role
from mergegraph.selecting import parse_layers

_COUNT_KEYS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers",
    "num_decoder_layers", "decoder_layers", "num_encoder_layers", "encoder_layers",
)  # fmt: skip
_PREFIX_KEYS = ("max_window_layers", "first_k_dense_replace")
_INDEX_KEYS = ("mlp_only_layers",)
_NOT_PER_LAYER = ("architectures", "image_mean", "image_std", "bos_token_id", "eos_token_id", "pad_token_id")
_UNSTACKABLE_KEYS = {"decoder_sparse_step": 1, "attn_layer_period": None, "expert_layer_period": None}


class Stack(Method):
    """A new model from slices of layers, numbered in the order they are written.

    y.layers = slices_1.layers[a:b] + slices_2.layers[c:d] + …

    The practice of "passthrough" merges such as Goliath-120B, https://huggingface.co/alpindale/goliath-120b
    """

    gives = "weights"
    example = 'tall: {op: stack, slices: [{from: a, layers: "0:24"}, {from: b, layers: "8:32"}]}'

    op: Literal["stack"] = "stack"
    slices: Annotated[tuple[Slice, ...], Field(min_length=1, description="runs of layers, in order")]
    embed_from: Weights | None = Field(
        default=None, description="gives the embeddings; default: the first slice's model"
    )
    head_from: Weights | None = Field(
        default=None, description="gives final norm and head; default: the last slice's model"
    )
    tower: str | None = Field(
        default=None, description="the name before the layer number, where a model has several stacks"
    )

    def _outer_edges(self) -> tuple[int, int]:
        """The edges (by index) that give the embeddings and the head."""
        count = len(self.slices)
        embed = count if self.embed_from is not None else 0
        head = count + (self.embed_from is not None) if self.head_from is not None else count - 1
        return embed, head

    def assemble(self, inputs: Sequence[NodeTensors], space: Space) -> Assembly:
        try:
            tower = self._tower(inputs[0].tensors)
            order = self._layer_order(inputs, tower)
        except _Unstackable as error:
            return Assembly({}, problems=error.problems)
        routes: dict[str, tuple[int, str]] = {}
        embed, head = self._outer_edges()
        problems = tuple(self._outer_problems(inputs[embed].tensors, inputs[head].tensors))
        routes |= {name: (embed, name) for name in inputs[embed].tensors if _is_embedding_side(name, tower)}
        layers = [_names_by_layer(node.tensors, tower) for node in inputs]
        for new, (edge, old) in enumerate(order):
            routes |= {renumbered(name, new): (edge, name) for name in layers[edge].get(old, ())}
        routes |= {name: (head, name) for name in inputs[head].tensors if _is_head_side(name, tower)}
        tensors: dict[str, TensorType] = {name: inputs[i].tensors[source] for name, (i, source) in routes.items()}
        return Assembly(tensors, routes, problems)

    def _outer_problems(self, embed: Mapping[str, TensorType], head: Mapping[str, TensorType]) -> Iterator[Problem]:
        """Embedding and head must be of one vocabulary, and both tied or both not."""
        heads = [_of_kind(tensors, "head") for tensors in (embed, head)]
        if bool(heads[0]) != bool(heads[1]):
            tied, untied = ("embeddings", "head") if heads[1] else ("head", "embeddings")
            yield Problem(
                f"The model that gives the {tied} is tied and has no head, the one that gives the {untied} has one.",
                fix="take both from one model: `embed_from: NODE` and `head_from: NODE`",
            )
        rows = [{kind.shape[0] for kind in _of_kind(tensors, "embedding", 2)} for tensors in (embed, head)]
        if rows[0] != rows[1] and len(rows[0]) == len(rows[1]) == 1:
            yield Problem(
                f"Embeddings and head are of different vocabularies: {rows[0].pop():,} and {rows[1].pop():,} rows.",
                fix="take both from one model: `embed_from: NODE` and `head_from: NODE`",
            )

    def _tower(self, names: Mapping[str, TensorType]) -> str:
        counts = layer_counts(names)
        if self.tower is not None:
            if self.tower not in counts:
                raise _unstackable(f'there is no stack of layers "{self.tower}"', _tower_fix(counts))
            return self.tower
        if not counts:
            raise _unstackable("the model has no numbered layers, so there is nothing to stack", _tower_fix(counts))
        if len(counts) > 1:
            raise _unstackable(f"the model has {len(counts)} stacks of layers", _tower_fix(counts))
        return next(iter(counts))

    def _layer_order(self, inputs: Sequence[NodeTensors], tower: str) -> list[tuple[int, int]]:
        """(edge, layer there) of every layer of the result, in order. _Unstackable names every wrong slice."""
        order: list[tuple[int, int]] = []
        wrong: list[Problem] = []
        for edge, piece in enumerate(self.slices):
            counts = layer_counts(inputs[edge].tensors)
            if tower not in counts:
                fix = f'take layers from models that have "{tower}"; "{piece.from_}" has {", ".join(counts) or "none"}'
                wrong += _unstackable(f'"{piece.from_}" has no stack of layers "{tower}"', fix).problems
                continue
            try:
                order += [(edge, layer) for layer in parse_layers(piece.layers, counts[tower])]
            except ValueError as error:
                fix = f'choose from `layers: "0:{counts[tower]}"`, which is all of "{piece.from_}"'
                wrong += _unstackable(str(error), fix).problems
        if wrong:
            raise _Unstackable(*dict.fromkeys(wrong))
        return order

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return next(operand for operand in inputs if operand is not None)

    def repair_config(self, configs: Sequence[Mapping[str, Any]], trunk: int) -> dict[str, Any]:
        """The first slice's config with the layer count, every per-layer list and layer indices of the stack.

        RecipeError names a key whose meaning does not survive stacking.
        """
        config = dict(configs[0])
        tower, taken = self.tower or "", configs[: len(self.slices)]
        if _count_key(config, tower):
            return _restacked(list(taken), self.slices, tower)
        nested = _nested_key(config, tower)
        if nested is not None:
            inner: list[Mapping[str, Any]] = [each.get(nested, {}) for each in taken]
            config[nested] = _restacked(inner, self.slices, tower)
        return config


class _Unstackable(ValueError):
    """Slices that make no stack of these models, and what to write instead."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(problems[0].fact)
        self.problems = problems


def _unstackable(fact: str, fix: str) -> _Unstackable:
    return _Unstackable(Problem(f"{fact}.", fix=fix))


def _tower_fix(counts: Mapping[str, int]) -> str:
    towers = " or ".join(f"`tower: {tower}`" for tower in counts)
    return f"write {towers}" if towers else "choose a model with layers; `op: select` takes single tensors from models"


def _of_kind(tensors: Mapping[str, TensorType], kind: str, rank: int = 0) -> list[TensorType]:
    """The tensors of a kind outside the layers, of `rank` where it is given."""
    return [
        tensor
        for name, tensor in tensors.items()
        if role(name).kind == kind and role(name).layer is None and rank in (0, len(tensor.shape))
    ]


def _is_embedding_side(name: str, tower: str) -> bool:
    """Embeddings, and whole other towers, stand before the layers."""
    spot = role(name)
    if spot.layer is None:
        return spot.kind == "embedding"
    return spot.tower != tower


def _is_head_side(name: str, tower: str) -> bool:
    return role(name).layer is None and not _is_embedding_side(name, tower)


def _names_by_layer(names: Mapping[str, TensorType], tower: str) -> dict[int, list[str]]:
    by_layer: dict[int, list[str]] = {}
    for name in names:
        spot = role(name)
        if spot.layer is not None and spot.tower == tower:
            by_layer.setdefault(spot.layer, []).append(name)
    return by_layer


def _count_key(config: Mapping[str, Any], tower: str) -> str | None:
    """The key that counts the layers of `tower`; an encoder and a decoder may have one each."""
    side = next((side for side in ("encoder", "decoder") if side in tower), "")
    keys = sorted(_COUNT_KEYS, key=lambda key: side not in key)
    return next((key for key in keys if type(config.get(key)) is int), None)


def _nested_key(config: Mapping[str, Any], tower: str) -> str | None:
    """The nested config that counts layers: `vision_config` for a tower `vision_model.layers`, else the first."""
    counting = [key for key in config if isinstance(config[key], dict) and _count_key(config[key], tower)]
    return next((key for key in counting if key.removesuffix("_config") in tower), next(iter(counting), None))


def _restacked(configs: list[Mapping[str, Any]], slices: Sequence[Slice], tower: str) -> dict[str, Any]:
    """The first config as the stack needs it; `configs` follow `slices`."""
    first = dict(configs[0])
    key = _count_key(first, tower)
    assert key is not None
    counts = [int(config.get(key, first[key])) for config in configs]
    order = [
        (edge, layer)
        for edge, (piece, count) in enumerate(zip(slices, counts, strict=True))
        for layer in _layers(piece, count, key)
    ]
    for name, harmless in _UNSTACKABLE_KEYS.items():
        if first.get(name, harmless) != harmless:
            raise _refused(name, first[name])
    for name, value in list(first.items()):
        if name in _PREFIX_KEYS and type(value) is int:
            first[name] = _prefix_length(name, value, [layer < configs[edge].get(name, value) for edge, layer in order])
        elif name in _INDEX_KEYS and isinstance(value, list):
            first[name] = [new for new, (edge, layer) in enumerate(order) if layer in configs[edge].get(name, [])]
        elif name not in _NOT_PER_LAYER and isinstance(value, list) and len(value) == counts[0]:  # pyright: ignore[reportUnknownArgumentType]
            first[name] = list(_relisted(name, order, configs, counts))
    first[key] = len(order)
    return first


def _layers(piece: Slice, count: int, key: str) -> range:
    """The layers of a slice, where the config counts `count`; the tensors may be more."""
    try:
        return parse_layers(piece.layers, count)
    except ValueError as error:
        raise RecipeError(
            Problem(
                f'The config.json of "{piece.from_}" does not fit its tensors: {error}.',
                why=f"{key} says {count}, or is not there and was taken from the first slice",
                fix=f'set {key} in the config.json of "{piece.from_}" to the layers it has',
            )
        ) from None


def _relisted(
    name: str, order: list[tuple[int, int]], configs: list[Mapping[str, Any]], counts: list[int]
) -> Iterator[Any]:
    for edge, layer in order:
        entries = configs[edge].get(name)
        if not isinstance(entries, list) or len(entries) != counts[edge]:  # pyright: ignore[reportUnknownArgumentType]
            raise _refused(name, entries)  # pyright: ignore[reportUnknownArgumentType]
        yield entries[layer]


def _prefix_length(name: str, value: int, flags: list[bool]) -> int:
    """How many leading layers are flagged; the key can say nothing else."""
    if True in flags[flags.index(False) :] if False in flags else False:
        raise _refused(name, value)
    return sum(flags)


def _refused(name: str, value: object) -> RecipeError:
    return RecipeError(
        Problem(
            f"config.json says {name}: {value!r}, which this stack of layers cannot keep.",
            why="the key ties a meaning to the positions of layers, and the stack moves them",
            fix="choose slices that keep the order of those layers, or edit the key in the input's config.json",
        )
    )
