"""What a tensor's name says about it: its kind, its part, its tower and its layer.

The rules read the dotted components of a name and know no architectures. Nothing but the name is looked at.

**Layers.** The first component that is an integer is a layer number when the component before it names a stack:
it ends in `layer(s)`, `block(s)` or `stage(s)` (`encoder_layers`, `down_blocks`, `layer1`, `albert_layer_groups`), or
is `h`, `features`, `down` or `up`. The tower is the name before that integer. Any other first integer
(`experts.3`, `lm_heads.0`, `classifier.2`, `mid_block.attentions.0`) means that the tensor is in no layer: its
layer is None and its tower is empty. Later integers never count.

**Kinds**, the first that fits:

    norm        the tensor's own module is a norm; an adaptive norm's `norm1.linear` is not
    embedding   inside an embedding of tokens, positions, patches, time steps or labels
    head        outside the layers, maps to words or class scores (not a pooler, not CLIP's projections)
    expert      an expert, shared or not, or the router: a router is of use only with its own experts
    attention   queries, keys, values, their output, and whatever else is inside an attention module
    mlp         the feed-forward part of a layer, or a module called so
    other       convolutions, state-space mixers, projectors, scales, poolers, …

**Parts** (q k v o of attention; gate up down of mlp and expert) are None where several are fused in one tensor, and
where the name does not tell them apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mergegraph.fields import Kind, Part


@dataclass(frozen=True, slots=True)
class Role:
    """What a name says. `tower` is the name before the layer number (`model.layers`), "" where `layer` is None."""

    kind: Kind
    part: Part | None
    tower: str
    layer: int | None


@lru_cache(maxsize=1 << 16)
def role(name: str) -> Role:
    """The role of the tensor `name`; a name that nothing is known of is "other".

    >>> role("model.layers.3.self_attn.q_proj.weight")
    Role(kind='attention', part='q', tower='model.layers', layer=3)
    """
    tower, layer, inner = _split(name)
    if "expert" in inner:
        inner = _EXPERT_NUMBER.sub(r"\1", inner)
    kind, part = _kind_and_part(tower, inner)
    return Role(kind, part, tower, layer)


def layer_counts(names: Iterable[str]) -> dict[str, int]:
    """Tower to its number of layers: the highest layer + 1, whether or not all are there."""
    counts: dict[str, int] = {}
    for name in names:
        named = role(name)
        if named.layer is not None and named.layer >= counts.get(named.tower, 0):
            counts[named.tower] = named.layer + 1
    return counts


def renumbered(name: str, layer: int) -> str:
    """The same tensor in another layer of its tower. ValueError where the tensor is in no layer.

    >>> renumbered("model.layers.3.mlp.experts.7.w1.weight", 12)
    'model.layers.12.mlp.experts.7.w1.weight'
    """
    tower, old, inner = _split(name)
    if old is None:
        raise ValueError(f"{name} is in no layer")
    return f"{tower}.{layer}.{inner}" if inner else f"{tower}.{layer}"


@lru_cache(maxsize=1 << 16)
def under_embedding(name: str) -> bool:
    """Whether a component of the name is an embedding: also true of its norm (`embeddings.LayerNorm.weight`)."""
    return _is_embedding(_components(name))


# The first integer. One of seven digits or more is no layer number, and could be thousands of digits long.
_FIRST_INTEGER = re.compile(r"(?:^|\.)([0-9]+)(?:\.|$)")
_LONGEST_LAYER = 6
_STACK = re.compile(r"(?:^|\.)(?:[^.]*(?:layer|block|stage)s?(?:_groups?)?[0-9]*|h|features|down|up)$", re.IGNORECASE)
_EXPERT_NUMBER = re.compile(r"(experts?)\.[0-9]+(?=\.)")


def _split(name: str) -> tuple[str, int | None, str]:
    """(tower, layer, what follows), or ("", None, name) where the name is in no layer."""
    first = _FIRST_INTEGER.search(name)
    if first is None or len(first[1]) > _LONGEST_LAYER or not _STACK.search(name, 0, first.start()):
        return "", None, name
    return name[: first.start()], int(first[1]), name[first.end() :]


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


# Searched in a component. CLIP's `pre_layrnorm` is spelt so; ln_f, attn_ln, bn1 and gn are norms too.
_NORM = _words(r"norm(?!al)", r"normali[sz]ation", r"^(?:ln|bn|gn)(?:_|[0-9]|$)", r"_(?:ln|bn)[0-9]*$")

_EMBEDDING = _words(
    r"^(?!rotary|rope|output_|un)(?:.*embed(?!_out$)|(?:.*_)?emb$)",
    r"^wte$",
    r"^wpe$",
    r"^(?:cls|class|mask|dist|distillation|register|reg)_tokens?$",
)

# The patterns from here on must match a whole component.
_HEAD = _words(
    r"(?:\w+_)?heads?",
    r"(?:\w+_)?classifiers?",
    r"(?:\w+_)?predictions",
    r"(?:\w+_)?logits",
    r"embed_out|unembed\w*|output_embed\w*|output_layer|output_projection",
    r"vocab_(?:projector|transform)",
    r"score|qa_outputs|cls|ff_out",
)
_HEAD_IN_A_LAYER = _words("lm_head", "shared_head")
_HEAD_ALONE = re.compile(r"(?:output|proj_out|fc)\.(?:weight|bias)")

_EXPERT = _words(r"\w*experts?(?:_\w+)?", r"(?:\w+_)?moe(?:_\w+)?", r"router(?:_\w+)?")

_ATTENTION = _words(r"\w*(?:attn|attention)(?:_?[0-9]+)?", "att", "mha")
_ATTENTION_LEAF = _words(
    r"(?:q|k|v|o|kv|qkv)_(?:proj|lin)",
    r"(?:query|key|value)_proj",
    r"to_(?:q|k|v|kv|qkv)",
    r"w?qkv|query_key_value|c_attn|att_proj|attn_out",
)

_MLP = _words(r"\w*mlp[0-9]*", r"\w*feed_?forward[0-9]*", r"ffns?[0-9]*|ffn_output", r"ff|ff_context", r"dense\w+dense")
_MLP_LEAF = _words(
    r"(?:gate|up|down|gate_up)_proj",
    r"fc[0-9]|fc_(?:in|out)|c_fc(?:_[01])?|lin[12]|w[123]|wi(?:_[01])?",
    r"dense_h_to_4h|dense_4h_to_h|proj_mlp|ff_proj|ff_out|intermediate",
)
_LINEAR_IN_LAYERS = re.compile(r"linear[12]\..*", re.IGNORECASE)

_ATTENTION_PARTS: dict[Part, re.Pattern[str]] = {
    "q": re.compile(r"(?:to_|add_)?q(?:_a|_b)?(?:_proj|_lin|_attn)?|wq(?:_a|_b)?|query(?:_proj)?"),
    "k": re.compile(r"(?:to_|add_)?k(?:_proj|_lin)?|wk|key(?:_proj)?"),
    "v": re.compile(r"(?:to_|add_)?v(?:_proj|_lin)?|wv|value(?:_proj)?"),
    "o": re.compile(
        r"o(?:_a|_b)?(?:_proj)?|[Ww]o|out(?:_proj|_lin)?|to(?:_add)?_out|dense|c_proj|proj|proj_out|attn_out"
    ),
}
# `Wi`, with a capital, is gate and up fused (ModernBERT); T5's `wi` is up alone.
_MLP_PARTS: dict[Part, re.Pattern[str]] = {
    "gate": re.compile(r"gate_proj|wi_0|c_fc_0|w1"),
    "up": re.compile(
        r"up|up_proj|wi|wi_1|c_fc|c_fc_1|fc1|fc_in|dense_h_to_4h|lin1|linear1|layer_1|proj_mlp|w3|v1"
        r"|intermediate|intermediate_dense"
    ),
    "down": re.compile(
        r"down|down_proj|[Ww]o|c_proj|fc2|fc_out|dense_4h_to_h|lin2|linear2|layer_2|w2"
        r"|output|output_dense|ffn_output|ff_out"
    ),
}
_NUMBERED = frozenset({"w1", "w2", "w3"})
_DIFFUSERS_DOWN = re.compile(r"(?:.*\.)?net\.2(?:\..*)?")

# `down_proj_bias`, `q_bias`, `in_proj_weight`, `gate_up_proj_blocks`: a parameter that carries its module's name.
_TENSOR_SUFFIX = re.compile(r"_(?:weight|bias|scales?|blocks)$")


def _components(path: str) -> list[str]:
    """The components that are names, without integers and without a parameter's suffix."""
    return [_TENSOR_SUFFIX.sub("", each) for each in path.split(".") if not each.isdecimal()]


def _any(words: re.Pattern[str], components: Iterable[str]) -> bool:
    return any(words.fullmatch(each) for each in components)


def _is_embedding(components: Sequence[str]) -> bool:
    return any(_EMBEDDING.search(each) for each in components)


@lru_cache(maxsize=1 << 14)
def _kind_and_part(tower: str, inner: str) -> tuple[Kind, Part | None]:
    """`inner` is the name after the layer number, or the whole of it (with tower "") for a tensor in no layer."""
    inside = _components(inner)
    outside = _components(tower) if tower else inside
    kind = _kind(tower, inner, inside, outside)
    return kind, _part(kind, inner, inside)


def _kind(tower: str, inner: str, inside: Sequence[str], outside: Sequence[str]) -> Kind:
    if any(_NORM.search(each) for each in inside[-2:]):
        return "norm"
    if _is_embedding(inside) or _is_embedding(outside) or outside[-2:-1] == ["shared"]:
        return "embedding"
    if _any(_HEAD, outside) or _any(_HEAD_IN_A_LAYER, inside) or (not tower and _HEAD_ALONE.fullmatch(inner)):
        return "head"
    if _any(_EXPERT, inside) or ("gate" in inside and _any(_MLP, inside)):
        return "expert"
    if _any(_ATTENTION, inside):
        return "attention"
    if _any(_MLP, inside) or _is_bare_mlp(tower, inner):
        return "mlp"
    if _any(_ATTENTION_LEAF, inside):
        return "attention"
    return "mlp" if _any(_MLP_LEAF, inside) else "other"


def _is_bare_mlp(tower: str, inner: str) -> bool:
    """BERT's `layer.0.output.dense`, and `layers.0.linear1` of torch's own transformer layers."""
    if inner.startswith("output."):
        return bool(tower)
    return tower.endswith("layers") and bool(_LINEAR_IN_LAYERS.fullmatch(inner))


def _part(kind: Kind, inner: str, inside: Sequence[str]) -> Part | None:
    if kind not in ("attention", "mlp", "expert"):
        return None
    if kind == "mlp" and _DIFFUSERS_DOWN.fullmatch(inner):
        return "down"
    parts = _ATTENTION_PARTS if kind == "attention" else _MLP_PARTS
    for position in range(len(inside) - 1, -1, -1):
        for part, words in parts.items():
            if words.fullmatch(inside[position]):
                return None if kind == "mlp" and _is_ambiguous(inside, position) else part
    return None


def _is_ambiguous(inside: Sequence[str], position: int) -> bool:
    """`mlp.w1`: gate in some models, up in Qwen 1, fused in DINOv2. `feed_forward.w1` and experts' are gate."""
    return inside[position] in _NUMBERED and position > 0 and inside[position - 1] == "mlp"
