"""Heads that are the embedding: what a tied model offers where it meets one with a head of its own.

Where all models that meet are tied, they stay so. Where one is not, the others offer their embedding as head, and
count as untied from there on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from mergegraph.graph import GraphNode
from mergegraph.naming import role
from mergegraph.tensors.checkpoint import Checkpoint
from mergegraph.tensors.header import StoredTensor

Stored = Mapping[str, StoredTensor]
KEY = "tie_word_embeddings"
_LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


@dataclass
class Ties:
    """`tied` loads whose head is their embedding; `untied` those that were so and have it as a head of their own now.

    `offered`: for each load the heads it did not store, with the tensors that they are. `duplicates`: for each load
    that counts as tied by its config, the heads it stores all the same, with the embedding that each must equal.
    """

    tied: set[str] = field(default_factory=set[str])
    untied: set[str] = field(default_factory=set[str])
    offered: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    duplicates: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])


def settle_ties(
    nodes: Mapping[str, GraphNode], checkpoints: Mapping[str, Checkpoint], stored: Mapping[str, Stored]
) -> Ties:
    """Who is tied, among the load nodes that meet in some node."""
    ties = Ties()
    for together in _meeting(nodes, [name for name in nodes if name in checkpoints]):
        tied = [name for name in together if is_tied(checkpoints[name].config, stored[name])]
        heads = {head: embedding for name in together for head, embedding in _heads(stored[name]).items()}
        for name in tied:
            own = _heads(stored[name])
            ties.duplicates[name] = own
            lacking = {head: x for head, x in heads.items() if head not in stored[name] and x in stored[name]}
            ties.offered[name] = lacking
            (ties.tied if len(tied) == len(together) or not heads else ties.untied).add(name)
    return ties


def is_tied(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> bool:
    """What config.json says; a language model that says nothing and stores no head is tied."""
    text: Any = config.get("text_config")
    stated = config.get(KEY, cast("dict[str, Any]", text).get(KEY) if isinstance(text, dict) else None)
    if stated is not None:
        return bool(stated)
    architectures = cast("list[Any]", config.get("architectures") or [])
    is_language_model = any(str(each).endswith(_LANGUAGE_MODELS) for each in architectures)
    return is_language_model and not any(role(name).kind == "head" for name in tensors)


def untied_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` of a model that has a head of its own from now on."""
    text: Any = config.get("text_config")
    nested = {"text_config": {**cast("dict[str, Any]", text), KEY: False}} if isinstance(text, dict) else {}
    return {**config, **nested, KEY: False}


def tied_pairs(tensors: Mapping[str, Any]) -> dict[str, str]:
    """Each head with the embedding of its shape: what a tied model has once."""
    return _heads(tensors)


def _heads(tensors: Mapping[str, Any]) -> dict[str, str]:
    matrices = [name for name, each in tensors.items() if len(each.shape) == 2 and role(name).layer is None]
    embeddings = [name for name in matrices if role(name).kind == "embedding"]
    heads = [name for name in matrices if role(name).kind == "head"]
    return {
        head: embedding for head in heads for embedding in embeddings if tensors[head].shape == tensors[embedding].shape
    }


def _meeting(nodes: Mapping[str, GraphNode], loads: Iterable[str]) -> list[list[str]]:
    """The load nodes in sets: two are in one set when some node is made from both."""
    leader = {name: name for name in nodes}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for name, node in nodes.items():
        for source in node.inputs:
            leader[find(source)] = find(name)
    sets: dict[str, list[str]] = {}
    for name in loads:
        sets.setdefault(find(name), []).append(name)
    return list(sets.values())
