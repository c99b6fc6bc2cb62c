"""`tokenizer` and `tokenizer_source` of a configuration as what its load nodes say of their vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mergegraph.errors import Location
from mergegraph.mergekit.config import Merge
from mergegraph.mergekit.emitting import Nodes
from mergegraph.mergekit.parameters import Findings
from mergegraph.mergekit.places import Names, name_of
from mergegraph.mergekit.writing import Tree


@dataclass(frozen=True)
class Alignment:
    """`target` is the node whose tokenizer the result has; None for the union of all."""

    target: str | None
    target_model: str
    union: tuple[str, ...]
    at: Location

    def vocab_of(self, model: str) -> Mapping[str, Tree] | None:
        """`vocab:` of the load node of `model`; None for the model that gives the vocabulary.

        A token that a model lacks gets the embedding of a model that has it, as in mergekit.
        """
        if self.union:
            return {"union": list(self.union), "missing": "base"}
        if model == self.target_model:
            return None
        return {"align": self.target, "missing": "base"}


def alignment(merge: Merge, named: Mapping[str, Merge], nodes: Nodes, findings: Findings) -> Alignment | None:
    """What `merge` says of vocabularies; None where it says nothing."""
    if merge.tokenizer is None:
        return None
    source = merge.tokenizer.source
    models = _models(merge)
    within = next((model for model in (*models, source.text) if model in named), None)
    if within is not None:
        fact = f'"{within}" is another document, and vocabularies are brought together where models are loaded.'
        findings.error(fact, source.at, "set the tokenizer in the document that loads the models")
        return None
    if source.text == "union":
        if len(models) > 2:
            fact = "A token that the base lacks, and that several models have, gets the embedding of the first of them."
            why = "mergekit averages over the models that have the token"
            findings.warning(fact, source.at, "compare the embeddings of such tokens", why)
        return Alignment(None, "", _names_to_be(models, nodes), source.at)
    target = models[0] if source.text == "base" else source.text
    node = nodes.load(target, None, source.at)
    known = {merge.base.text if merge.base else models[0], target}
    if len(known) > 1 or len(models) > 2:
        why = "mergekit prefers the base, and averages over the models that have the token"
        if target not in (merge.base.text if merge.base else "", *models[:1]) and len(models) > 2:
            fact = f"A token that a model lacks gets the embedding it has in {target}."
            findings.warning(fact, source.at, "compare the embeddings of rare tokens", why)
    return Alignment(node, target, (), source.at)


def _models(merge: Merge) -> list[str]:
    """Every model once, the base first."""
    listed = [source.model.text for piece in merge.slices for source in piece.sources]
    return list(dict.fromkeys([*([merge.base.text] if merge.base else []), *listed]))


def _names_to_be(models: list[str], nodes: Nodes) -> tuple[str, ...]:
    """The names that the load nodes of `models` will get, in this order."""
    names = Names()
    names.taken = set(nodes.names.taken)
    return tuple(names.new(name_of(model)) for model in models)
