"""One merge of a mergekit configuration, read strictly: every key is known, and every value has its line.

`models:` becomes one slice of whole models. Says nothing of what a method does with its inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from mergegraph.dtypes import SAVE_NAMES
from mergegraph.errors import Location, Problem, did_you_mean
from mergegraph.mergekit.levels import EMPTY, Level, read_level
from mergegraph.mergekit.signatures import SIGNATURES
from mergegraph.methods.base import Path
from mergegraph.recipe.document import Document
from mergegraph.recipe.scalars import Value
from mergegraph.recipe.validate import shown

_KEYS = (
    "name", "merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype",
    "tokenizer_source", "tokenizer", "chat_template",
)  # fmt: skip
_ELSEWHERE = {
    "modules": "write one configuration for each module",
    "random_seed": "delete the line: mergekit does not read it; --set seed=7 sets the seed here",
}
_DTYPES = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Reference:
    """A model as it is written, `path@revision+adapter`."""

    text: str
    at: Location


@dataclass(frozen=True, slots=True)
class Source:
    """One input of a slice; `layers` is half-open, None for the whole model."""

    model: Reference
    layers: tuple[int, int] | None
    parameters: Level


@dataclass(frozen=True, slots=True)
class Slice:
    """Models that are merged over as many layers each."""

    sources: tuple[Source, ...]
    parameters: Level
    at: Location

    @property
    def layer_count(self) -> int | None:
        """How many layers it gives; None for whole models."""
        layers = self.sources[0].layers
        return None if layers is None else layers[1] - layers[0]


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """`source` is `base`, `union` or a model."""

    source: Reference
    pad_to_multiple_of: int | None


@dataclass(frozen=True, slots=True)
class Merge:
    """One document. `in_slices`: whether it was written with `slices:`; the base is then no input by itself."""

    name: str
    method: str
    base: Reference | None
    slices: tuple[Slice, ...]
    in_slices: bool
    parameters: Level
    dtype: Reference | None
    out_dtype: Reference | None
    tokenizer: Tokenizer | None
    chat_template: Reference | None
    at: Location


def read_merge(document: Document, problems: list[Problem]) -> Merge | None:
    """The merge that `document` says; None where it cannot be read. What is wrong is added to `problems`."""
    before = len(problems)
    problems += document.problems
    merge = _Reader(document, problems).merge()
    return merge if len(problems) == before else None


class _Reader:
    """One document on its way to a Merge. What its methods give after adding a problem is never used."""

    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self.document, self.problems = document, problems

    def problem(self, path: Path, fact: str, fix: str, why: str = "") -> None:
        self.problems.append(Problem(fact, self.document.where(path), why=why, fix=fix))

    def merge(self) -> Merge | None:
        top = self.document.value
        if not isinstance(top, dict):
            self.problem((), f"A mergekit configuration is a mapping, not {shown(top)}.", "write merge_method: …")
            return None
        for key in top:
            if key not in _KEYS:
                fix = _ELSEWHERE.get(key) or did_you_mean(key, _KEYS, "keys")
                self.problem((key,), f'A mergekit configuration has no "{key}" that can be imported.', fix)
        return Merge(
            name=self.word(("name",), top.get("name"), "") or "",
            method=self.method(top),
            base=self.model(("base_model",), top["base_model"]) if top.get("base_model") is not None else None,
            slices=self.slices(top),
            in_slices="slices" in top,
            parameters=read_level(self.document, ("parameters",), top.get("parameters"), self.problems),
            dtype=self.dtype("dtype", top.get("dtype")),
            out_dtype=self.dtype("out_dtype", top.get("out_dtype")),
            tokenizer=self.tokenizer(top),
            chat_template=self.text(("chat_template",), top.get("chat_template")),
            at=self.document.where(("merge_method",)),
        )

    def method(self, top: dict[str, Value]) -> str:
        method = self.word(("merge_method",), top.get("merge_method"), "write merge_method: linear")
        if not method:
            self.problem((), "Nothing says how to merge.", "add `merge_method:`, for example linear")
        elif method not in SIGNATURES:
            fix = did_you_mean(method, SIGNATURES, "methods")
            self.problem(("merge_method",), f'The merge method "{method}" cannot be imported.', fix)
        return method or ""

    def slices(self, top: dict[str, Value]) -> tuple[Slice, ...]:
        if ("models" in top) == ("slices" in top):
            if "models" in top:
                self.problem(("slices",), "A configuration has `models:` or `slices:`, not both.", "keep one of them")
            else:
                self.problem((), "Nothing says what to merge.", "add `models:`, or `slices:` for runs of layers")
            return ()
        if "models" in top:
            sources = self.sources(("models",), top["models"], has_layers=False)
            return (Slice(sources, EMPTY, self.document.where(("models",))),)
        pieces = self.entries(("slices",), top["slices"])
        return tuple(self.slice(("slices", index), piece) for index, piece in enumerate(pieces))

    def slice(self, path: Path, piece: dict[str, Value]) -> Slice:
        self.check_keys(path, piece, ("sources", "parameters"), "A slice")
        sources = self.sources((*path, "sources"), piece.get("sources"), has_layers=True)
        lengths = {source.layers[1] - source.layers[0] for source in sources if source.layers}
        if len(lengths) > 1:
            fact = f"The sources of a slice have {' and '.join(map(str, sorted(lengths)))} layers."
            self.problem(path, fact, "give every source of one slice as many layers")
        level = read_level(self.document, (*path, "parameters"), piece.get("parameters"), self.problems)
        return Slice(sources, level, self.document.where(path))

    def sources(self, path: Path, value: Value, *, has_layers: bool) -> tuple[Source, ...]:
        entries = self.entries(path, value)
        return tuple(self.source((*path, index), entry, has_layers) for index, entry in enumerate(entries))

    def source(self, path: Path, entry: dict[str, Value], has_layers: bool) -> Source:
        keys = ("model", "layer_range", "parameters") if has_layers else ("model", "parameters")
        self.check_keys(path, entry, keys, "A source of a slice" if has_layers else "An entry of `models:`")
        model = self.model((*path, "model"), entry.get("model"))
        layers = self.layers((*path, "layer_range"), entry.get("layer_range")) if has_layers else None
        level = read_level(self.document, (*path, "parameters"), entry.get("parameters"), self.problems)
        return Source(model, layers, level)

    def layers(self, path: Path, value: Value) -> tuple[int, int]:
        match value:
            case [int(first), int(end)] if 0 <= first < end:
                return first, end
            case _:
                fix = "write layer_range: [0, 16], for layers 0 to 15"
                self.problem(path, f"`layer_range` takes a first layer and one beyond the last, not {value}.", fix)
                return 0, 1

    def model(self, path: Path, value: Value) -> Reference:
        """`path@revision+adapter`, also from mergekit's mapping of the same parts."""
        if isinstance(value, dict) and isinstance(value.get("model"), str | dict):
            self.check_keys(path, value, ("model", "lora"), "A model")
            parts = [self.part((*path, key), value[key]) for key in ("model", "lora") if value.get(key) is not None]
            return Reference("+".join(parts), self.document.where(path))
        return Reference(self.part(path, value), self.document.where(path))

    def part(self, path: Path, value: Value) -> str:
        match value:
            case str() if value.strip():
                return value.strip()
            case {"path": str(name), **rest}:
                self.check_keys((*path,), rest, ("revision",), "A model's path")
                return f"{name}@{rest['revision']}" if rest.get("revision") is not None else name
            case _:
                self.problem(
                    path, f"A model is a folder or a Hub id, not {shown(value)}.", "write model: ./models/NAME"
                )
                return ""

    def dtype(self, key: str, value: Value) -> Reference | None:
        name = self.text((key,), value)
        if name is not None and (name.text not in _DTYPES or name.text not in SAVE_NAMES):
            self.problem((key,), f'mergekit has no dtype "{name.text}".', did_you_mean(name.text, _DTYPES, "dtypes"))
        return name

    def tokenizer(self, top: dict[str, Value]) -> Tokenizer | None:
        plain, full = top.get("tokenizer_source"), top.get("tokenizer")
        if plain is not None and full is not None:
            self.problem(("tokenizer",), "Both `tokenizer:` and `tokenizer_source:` are given.", "keep one of them")
        if plain is not None:
            return Tokenizer(self.model(("tokenizer_source",), plain), None)
        if not isinstance(full, dict):
            if full is not None:
                self.problem(
                    ("tokenizer",), f"`tokenizer:` takes a mapping, not {shown(full)}.", "write {source: base}"
                )
            return None
        if full.get("tokens"):
            fact = "`tokenizer: tokens:` cannot be imported: embeddings of single tokens are not chosen here."
            self.problem(("tokenizer", "tokens"), fact, "delete it, or merge without it and edit the embedding")
        self.check_keys(("tokenizer",), full, ("source", "tokens", "pad_to_multiple_of"), "`tokenizer:`")
        multiple = full.get("pad_to_multiple_of")
        if multiple is not None and (type(multiple) is not int or multiple < 1):
            self.problem(
                ("tokenizer", "pad_to_multiple_of"), f"It takes a whole number, not {shown(multiple)}.", "write 64"
            )
        source = self.model(("tokenizer", "source"), full.get("source") or "union")
        return Tokenizer(source, multiple if type(multiple) is int else None)

    def entries(self, path: Path, value: Value) -> list[dict[str, Value]]:
        """The mappings of a list that must not be empty."""
        if not isinstance(value, list) or not value:
            self.problem(path, f"`{path[-1]}:` takes a list, not {shown(value)}.", f"write {path[-1]}: with - entries")
            return []
        for index, entry in enumerate(value):
            if not isinstance(entry, dict):
                self.problem((*path, index), f"An entry here is a mapping, not {shown(entry)}.", "write - model: …")
        return [entry for entry in value if isinstance(entry, dict)]

    def check_keys(self, path: Path, entry: dict[str, Value], known: tuple[str, ...], what: str) -> None:
        for key in entry:
            if key not in known:
                why = "mergekit would ignore it without a word"
                self.problem((*path, key), f'{what} has no "{key}".', did_you_mean(key, known), why)

    def word(self, path: Path, value: Value, fix: str) -> str | None:
        text = self.text(path, value, fix)
        return text.text.strip() if text else None

    def text(self, path: Path, value: Value, fix: str = "") -> Reference | None:
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            self.problem(path, f"`{path[-1]}:` takes a text, not {shown(value)}.", fix or f"write {path[-1]}: …")
            return None
        return Reference(value, self.document.where(path))
