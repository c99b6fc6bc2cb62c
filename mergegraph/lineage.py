"""Do the models that meet in a node belong together: one base, one tokenizer, one architecture?

Looks at config.json, tokenizer files, and at most 64 KiB of each of at most 32 matrices of each model (8 where one is
on a server; none where only headers are to be read). Relatives
measure a median cosine of 0.99 and more, independent initialisations at most 0.003; below 0.5 is another base.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from mergegraph.errors import Problem, RecipeError, raise_errors
from mergegraph.graph import GraphNode
from mergegraph.resolve import Resolved, ResolvedNode
from mergegraph.tensors.checkpoint import Checkpoint
from mergegraph.tensors.declared import contradict, declared_bases, same_model
from mergegraph.tensors.header import StoredTensor
from mergegraph.tensors.sources.access import access
from mergegraph.tensors.sources.door import read_piece
from mergegraph.tensors.sources.hub_names import hub_ids
from mergegraph.tensors.sources.location import is_remote
from mergegraph.tensors.tokenizer import Difference, read_tokens, tokens_difference, vocabulary_difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PIECE_BYTES = 64 << 10
_PIECES = 32
_PIECES_OF_SERVERS = 8
_RELATED_FROM = 0.5
_MUST_AGREE = ("model_type", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim")
_SHOULD_AGREE = ("architectures", "rope_theta", "rope_parameters", "rope_scaling", "rms_norm_eps", "hidden_act")


@dataclass
class _Pairs:
    """The pairs of load nodes that were compared already."""

    seen: set[frozenset[int]] = field(default_factory=set[frozenset[int]])

    def first_time(self, one: ResolvedNode, other: ResolvedNode) -> bool:
        pair = frozenset((id(one.checkpoint), id(other.checkpoint)))
        new = len(pair) == 2 and pair not in self.seen
        self.seen.add(pair)
        return new


def check_lineage(resolved: Resolved, *, allow_unrelated: bool = False) -> tuple[Problem, ...]:
    """The warnings; RecipeError lists every pair of models that does not belong together.

    With `allow_unrelated` other bases and architectures only warn.
    """
    problems: list[Problem] = []
    pairs = _Pairs()
    for name, node in resolved.nodes.items():
        problems += _adapter_problems(resolved, node)
        if len(node.node.inputs) < 2:
            continue
        trunk, *others = _trunk_first(resolved, name, node)
        for other in others:
            if pairs.first_time(trunk, other):
                problems += _pair_problems(node.node, trunk, other, allow_unrelated)
    return raise_errors(problems, RecipeError)


def _trunk_first(resolved: Resolved, name: str, node: ResolvedNode) -> list[ResolvedNode]:
    """The load node below each input, the trunk's first."""
    loads = [resolved.trunk_load(input_name) for input_name in node.node.inputs]
    return [loads[node.trunk], *(load for index, load in enumerate(loads) if index != node.trunk)]


def _pair_problems(
    node: GraphNode, ours: ResolvedNode, theirs: ResolvedNode, allow_unrelated: bool
) -> Iterator[Problem]:
    one, other = ours.checkpoint, theirs.checkpoint
    assert one is not None
    assert other is not None
    severity = "warning" if allow_unrelated else "error"
    names = f'"{ours.node.name}" and "{theirs.node.name}"'
    differing = _differing_keys(one.config, other.config, _MUST_AGREE)
    if differing:
        yield Problem(
            f"{names} are not of one architecture.", at=node.at, node=node.written_as, why=differing,
            fix="merge fine-tunes of one base; --allow-unrelated goes on all the same", severity=severity,
        )  # fmt: skip
    softly = _differing_keys(one.config, other.config, _SHOULD_AGREE)
    if softly:
        yield Problem(
            f"{names} differ in config.json.", at=node.at, node=node.written_as, why=softly, severity="warning"
        )
    difference = _vocabulary_difference(ours, theirs)
    if difference is not None:
        yield Problem(
            f"{names} have different tokenizers.", at=node.at, node=node.written_as, why=difference.text,
            fix=f"add `vocab: {{align: {ours.node.name}}}` to the load node \"{theirs.node.name}\": its rows are then "
            "matched by token text"
            if difference.is_certain
            else "merge models that share a tokenizer: row i of the embedding must mean the same token in both",
            severity="error" if difference.is_certain else "warning",
        )  # fmt: skip
    declared = [declared_bases(each.folder, each.config) if each.is_folder else () for each in (one, other)]
    if contradict(declared[0], declared[1]) and not _is_one_of(one, declared[1]) and not _is_one_of(other, declared[0]):
        yield Problem(
            f"{names} say that they were made from different models.", at=node.at, node=node.written_as,
            why=_declared_text(ours, theirs, declared), severity="warning",
            fix="read their model cards; the numbers decide, and are compared as well",
        )  # fmt: skip
    cosine = None
    if ours.node.space == theirs.node.space == "weights" and not _is_unread(one, other):
        cosine = median_cosine(_unmoved(ours), _unmoved(theirs))
    if cosine is not None and cosine < _RELATED_FROM:
        said = _declared_text(ours, theirs, declared)
        yield Problem(
            f"{names} have different bases: the median cosine of their matrices is {cosine:.3f}.",
            at=node.at, node=node.written_as, model=other.reference,
            why=f"fine-tunes of one base measure 0.99 and more; {one.reference} and {other.reference} were initialised "
            "apart, and their average is no model" + (f"\n{said}" if said else ""),
            fix="take fine-tunes of one base; --allow-unrelated goes on all the same", severity=severity,
        )  # fmt: skip


def _vocabulary_difference(ours: ResolvedNode, theirs: ResolvedNode) -> Difference | None:
    """How the vocabularies that two load nodes end up with differ."""
    one, other = ours.checkpoint, theirs.checkpoint
    assert one is not None
    assert other is not None
    if not (one.is_folder and other.is_folder):
        return None
    if ours.aligned is None and theirs.aligned is None:
        return vocabulary_difference(one.folder, other.folder)
    tokens = [
        read_tokens(checkpoint.folder) if node.aligned is None else node.aligned.vocabulary.tokens
        for node, checkpoint in ((ours, one), (theirs, other))
    ]
    return tokens_difference(*tokens) if all(tokens) else None


def _is_unread(*checkpoints: Checkpoint) -> bool:
    """Whether weights of one of them would have to be fetched, and only headers are to be read."""
    return access().headers_only and any(is_remote(file.path) for each in checkpoints for file in each.files)


def _unmoved(node: ResolvedNode) -> dict[str, StoredTensor]:
    """The tensors whose rows are where they are stored."""
    return {name: tensor for name, tensor in node.stored.items() if name not in node.views}


def _is_one_of(checkpoint: Checkpoint, names: tuple[str, ...]) -> bool:
    """Whether one of the names is this model's own: a base that a fine-tune of it names."""
    return any(same_model(name, known) for name in names for known in _own_names(checkpoint))


def _own_names(checkpoint: Checkpoint) -> list[str]:
    """What a model may be called: as it was asked for, its folder, its id on the Hub."""
    return [checkpoint.reference, str(checkpoint.folder), *hub_ids(checkpoint.folder)]


def _adapter_problems(resolved: Resolved, node: ResolvedNode) -> Iterator[Problem]:
    """An adapter that names another base than the one it is put on, as far as that one says what it is.

    A model of the Hub, or from its cache, says it by its place there, any other by the base that it declares.
    """
    if node.adapter is None:
        return
    base = resolved.trunk_load(node.node.name)
    assert base.checkpoint is not None
    known = declared_bases(base.checkpoint.folder, base.checkpoint.config) if base.checkpoint.is_folder else ()
    known = (*hub_ids(base.checkpoint.folder), *known)
    said = declared_bases(node.adapter.folder, {})
    if contradict(known, said) and not _is_one_of(base.checkpoint, said):
        yield Problem(
            f'The adapter "{node.node.name}" says that it was trained on another model than "{base.node.name}".',
            at=node.node.at, node=node.node.written_as, severity="warning",
            why=f'it names {", ".join(said)}; "{base.node.name}" names {", ".join(known)}',
            fix="put it on the model that it was trained on",
        )  # fmt: skip


def _declared_text(ours: ResolvedNode, theirs: ResolvedNode, declared: list[tuple[str, ...]]) -> str:
    """`"code" names meta/llama-3-8b`, for each of the two that names its base."""
    said = zip((ours, theirs), declared, strict=True)
    return "; ".join(f'"{node.node.name}" names {", ".join(bases)} as its base' for node, bases in said if bases)


def _differing_keys(ours: Mapping[str, Any], theirs: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """`hidden_size: 64 and 192`, for the keys that both have."""
    return ", ".join(
        f"{key}: {ours[key]} and {theirs[key]}"
        for key in keys
        if ours.get(key) is not None and theirs.get(key) is not None and ours[key] != theirs[key]
    )


def median_cosine(ours: Mapping[str, StoredTensor], theirs: Mapping[str, StoredTensor]) -> float | None:
    """The median cosine of the same pieces of two models; None where they share no matrix to look at."""
    import numpy as np

    shared = [
        (tensor, theirs[name])
        for name, tensor in ours.items()
        if len(tensor.shape) == 2 and tensor.dtype.code in _READABLE and name in theirs
        and theirs[name].shape == tensor.shape and theirs[name].dtype.code in _READABLE
    ]  # fmt: skip
    are_fetched = any(is_remote(each.path) for pair in shared[:1] for each in pair)
    step = max(1, -(-len(shared) // (_PIECES_OF_SERVERS if are_fetched else _PIECES)))
    pairs = list(islice(shared, 0, None, step))
    if are_fetched:
        with ThreadPoolExecutor(_PIECES_OF_SERVERS) as pool:
            compared = list(pool.map(_fetched_cosine, *zip(*pairs, strict=True)))
    else:
        compared = [_cosine(one, other) for one, other in pairs]
    cosines = [cosine for cosine in compared if cosine is not None]
    return float(np.median(cosines)) if cosines else None


_READABLE = ("F64", "F32", "F16", "BF16")


@lru_cache(maxsize=4096)
def _fetched_cosine(one: StoredTensor, other: StoredTensor) -> float | None:
    """`_cosine`, fetched once: whoever edits a recipe checks it again and again."""
    return _cosine(one, other)


def _cosine(one: StoredTensor, other: StoredTensor) -> float | None:
    import numpy as np

    elements = min(one.element_count, _PIECE_BYTES // max(one.dtype.itemsize, other.dtype.itemsize))
    start = (one.element_count - elements) // 2
    a, b = _piece(one, start, elements), _piece(other, start, elements)
    # Sums of products, not `@`: waking the threads of a BLAS library takes 8 ms for 32,768 elements, this 0.1.
    with np.errstate(over="ignore", invalid="ignore"):
        scale = math.sqrt(float(np.sum(a * a)) * float(np.sum(b * b)))
        return float(np.sum(a * b)) / scale if 0 < scale < math.inf else None


def _piece(tensor: StoredTensor, start: int, elements: int) -> NDArray[np.float64]:
    """`elements` elements from `start`, as float64."""
    import numpy as np

    width = tensor.dtype.itemsize
    raw = read_piece(tensor.path, tensor.offset + start * width, elements * width)
    if tensor.dtype.code == "BF16":
        widened = np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16
        return widened.view(np.float32).astype(np.float64)
    return np.frombuffer(raw, dtype={"F64": "<f8", "F32": "<f4", "F16": "<f2"}[tensor.dtype.code]).astype(np.float64)
