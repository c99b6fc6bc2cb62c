"""Which nodes a node names, and the same node with those names changed.

Beside the edges of the graph a method may name nodes whose files it wants (`files_from`, `vocab`); both are renamed
together.
"""

from __future__ import annotations

from collections.abc import Callable

from mergegraph.methods.base import Method, Path
from mergegraph.methods.load import Load, Vocab
from mergegraph.recipe.grammar import names_in, with_names
from mergegraph.recipe.model import Expression

_FILE_FIELDS = ("files_from", "tokenizer_from")


def named_nodes(method: Method | Expression) -> tuple[tuple[Path, str], ...]:
    """The path of each field that names a node, with the name. An expression's names all stand at its own line."""
    if isinstance(method, Expression):
        return tuple(((), name) for name in names_in(method.text))
    return (*((edge.path, edge.node) for edge in method.edges()), *_files(method), *_vocabularies(method))


def renamed(method: Method | Expression, new_name: Callable[[str], str]) -> Method | Expression:
    """The same method with every node name mapped through `new_name`."""
    if isinstance(method, Expression):
        return Expression(with_names(method.text, new_name))
    changed: dict[str, object] = {path[0]: new_name(name) for path, name in _files(method)}
    if isinstance(method, Load) and method.vocab is not None:
        changed["vocab"] = _with_names(method.vocab, new_name)
    return method.rewired(new_name).model_copy(update=changed)


def _vocabularies(method: Method) -> tuple[tuple[Path, str], ...]:
    if not isinstance(method, Load) or method.vocab is None:
        return ()
    if method.vocab.align is not None:
        return ((("vocab", "align"), method.vocab.align),)
    return tuple((("vocab", "union", index), name) for index, name in enumerate(method.vocab.nodes))


def _with_names(vocab: Vocab, new_name: Callable[[str], str]) -> Vocab:
    align = new_name(vocab.align) if vocab.align is not None else None
    union = tuple(map(new_name, vocab.union)) if vocab.union is not None else None
    return vocab.model_copy(update={"align": align, "union": union})


def _files(method: Method) -> tuple[tuple[tuple[str], str], ...]:
    values = ((field, getattr(method, field, None)) for field in _FILE_FIELDS)
    return tuple(((field,), value) for field, value in values if isinstance(value, str))
