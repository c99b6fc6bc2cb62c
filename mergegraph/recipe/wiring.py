"""Which nodes a node names, and the same node with those names changed.

Beside the edges of the graph a method may name nodes whose files it wants (`files_from`); both are renamed together.
"""

from __future__ import annotations

from collections.abc import Callable

from mergegraph.methods.base import Method, Path
from mergegraph.recipe.grammar import names_in, with_names
from mergegraph.recipe.model import Expression

_FILE_FIELDS = ("files_from", "tokenizer_from")


def named_nodes(method: Method | Expression) -> tuple[tuple[Path, str], ...]:
    """The path of each field that names a node, with the name. An expression's names all stand at its own line."""
    if isinstance(method, Expression):
        return tuple(((), name) for name in names_in(method.text))
    return (*((edge.path, edge.node) for edge in method.edges()), *_files(method))


def renamed(method: Method | Expression, new_name: Callable[[str], str]) -> Method | Expression:
    """The same method with every node name mapped through `new_name`."""
    if isinstance(method, Expression):
        return Expression(with_names(method.text, new_name))
    return method.rewired(new_name).model_copy(update={path[0]: new_name(name) for path, name in _files(method)})


def _files(method: Method) -> tuple[tuple[tuple[str], str], ...]:
    values = ((field, getattr(method, field, None)) for field in _FILE_FIELDS)
    return tuple(((field,), value) for field, value in values if isinstance(value, str))
