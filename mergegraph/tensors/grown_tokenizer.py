"""A tokenizer.json with the tokens of others added: what a union of vocabularies is written with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

Document = dict[str, Any]


def grown(own: str, others: Sequence[str], tokens: Mapping[str, int]) -> str:
    """`own` with every token of `tokens` that it lacks, at its row. ValueError for text that is no tokenizer.json.

    A new token is an added token where one of `others` has it so, or where the model is no mapping to add it to;
    else it joins the model's vocabulary, with the merges of `others` that make it.
    """
    document, rest = _parsed(own), [_parsed(text) for text in others]
    model = document["model"]
    added = _added(document)
    known = {str(each["content"]) for each in added} | _in_model(model)
    theirs = {str(each["content"]): each for other in reversed(rest) for each in _added(other)}
    joined: set[str] = set()
    for token in sorted(tokens.keys() - known, key=tokens.__getitem__):
        if token in theirs or not isinstance(model.get("vocab"), dict):
            added.append({**_PLAIN, **theirs.get(token, {}), "content": token, "id": tokens[token]})
        else:
            model["vocab"][token] = tokens[token]
            joined.add(token)
    document["added_tokens"] = sorted(added, key=lambda each: int(each["id"]))
    if isinstance(model.get("merges"), list):
        model["merges"] += list(_merges(model["merges"], rest, joined))
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _added(document: Document) -> list[Document]:
    return list(cast("list[Document]", document.get("added_tokens") or []))


_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}


def _parsed(text: str) -> Document:
    document: Any = json.loads(text)
    if not (isinstance(document, dict) and isinstance(document.get("model"), dict)):  # pyright: ignore[reportUnknownMemberType]
        raise ValueError("it has no model")
    return cast("Document", document)


def _in_model(model: Document) -> set[str]:
    vocabulary: Any = model["vocab"]
    return set(vocabulary) if isinstance(vocabulary, dict) else {str(piece) for piece, *_ in vocabulary}  # pyright: ignore[reportUnknownArgumentType]


def _merges(own: list[Any], others: Sequence[Document], joined: set[str]) -> Iterator[Any]:
    """The merges of the others that make a token that joined, in their order, as `own` writes merges."""
    as_pairs = bool(own) and isinstance(own[0], list)
    seen = {_pair(merge) for merge in own}
    for other in others:
        for merge in cast("list[Any]", other["model"].get("merges") or []):
            pair = _pair(merge)
            if "".join(pair) in joined and pair not in seen:
                seen.add(pair)
                yield list(pair) if as_pairs else " ".join(pair)


def _pair(merge: Any) -> tuple[str, ...]:
    return tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge)
