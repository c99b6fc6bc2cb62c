"""`vocab:` of load nodes: which rows of embedding and head a model has once its vocabulary is another's.

Looks at tokenizer files, headers and config.json. `align` takes the vocabulary that its node ends up with, `union` the
vocabularies that its nodes are stored with. Rows that no token has (padding) are those of the node that the vocabulary
comes from, so that no average and no delta changes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mergegraph.errors import Problem
from mergegraph.graph import GraphNode
from mergegraph.methods.load import Load, Vocab
from mergegraph.tensors.checkpoint import Checkpoint
from mergegraph.tensors.grown_tokenizer import grown
from mergegraph.tensors.header import StoredTensor
from mergegraph.tensors.sources.door import read_text
from mergegraph.tensors.tokenizer import read_tokens
from mergegraph.tensors.vocabulary import Placement, Vocabulary, placement, union
from mergegraph.token_rows import vocabulary_rows, vocabulary_tensors
from mergegraph.views import MEAN_ROW, ZERO_ROW, RowMap, row_map

Stored = Mapping[str, StoredTensor]
Rows = tuple[int, ...]
_FEW = 0.5


@dataclass(frozen=True)
class RowView:
    """A tensor in the rows of another vocabulary: its own rows, plus rows of other stored tensors where it has none.

    `fills` are zero wherever `rows` is not; the sum of all is the tensor.
    """

    shape: tuple[int, ...]
    rows: RowMap
    fills: tuple[tuple[StoredTensor, RowMap], ...] = ()


@dataclass(frozen=True)
class Fill:
    """Stored rows of another load node where a model has none, else `ZERO_ROW`; `own` as in `RowMap`.

    A tensor that the node lacks leaves `is_padding` rows at zero; the rows of tokens must be there.
    """

    node: str
    rows: Rows
    own: int
    is_padding: bool = False

    def fits(self, other: StoredTensor | None, ours: StoredTensor) -> bool:
        """Whether `other`, the node's, can give these rows of a tensor that is `ours`."""
        if other is None or other.scale is not None or not other.dtype.is_float:
            return False
        return math.prod(other.shape[1:]) == math.prod(ours.shape[1:]) and other.shape[0] > max(self.rows)

    def where(self, wanted: Sequence[bool], *, is_padding: bool = False) -> Fill:
        """Only the rows that are wanted."""
        rows = tuple([row if wants else ZERO_ROW for row, wants in zip(self.rows, wanted, strict=True)])
        return replace(self, rows=rows, is_padding=is_padding)


@dataclass(frozen=True)
class Aligned:
    """A load node's vocabulary after `vocab:`.

    `rows` are its stored rows (or `ZERO_ROW`, `MEAN_ROW`), `fills` those of other load nodes. `tokenizer` is the load
    node whose files are the vocabulary's, `tokenizer_json` the text of that file where it had to grow. `moved` are
    the rows of tokens that changed theirs, `lost` those of tokens that are gone.
    """

    vocabulary: Vocabulary
    own: int
    rows: Rows
    fills: tuple[Fill, ...] = ()
    tokenizer: str = ""
    tokenizer_json: str = ""
    moved: Mapping[int, int] = field(default_factory=dict[int, int])
    lost: frozenset[int] = frozenset()

    def views(self, stored: Stored, models: Mapping[str, Stored], row_count: int) -> dict[str, RowView]:
        """The view of each tensor that has a row for each of `row_count` rows; none where all rows stay."""
        if self.rows == tuple(range(row_count)):
            return {}
        rows = row_map(self.rows, self.own)
        fills = [(fill, row_map(fill.rows, fill.own)) for fill in self.fills]
        views: dict[str, RowView] = {}
        for name in vocabulary_tensors(stored, row_count):
            fitting = [(fill, taken) for fill, taken in fills if fill.fits(models[fill.node].get(name), stored[name])]
            shape = (len(self.rows), *stored[name].shape[1:])
            views[name] = RowView(shape, rows, tuple([(models[fill.node][name], taken) for fill, taken in fitting]))
        return views


def align(
    nodes: Mapping[str, GraphNode], checkpoints: Mapping[str, Checkpoint], stored: Mapping[str, Stored]
) -> tuple[dict[str, Aligned], dict[str, list[Problem]]]:
    """What `vocab:` makes of each load node that has it, and what is wrong, by node."""
    aligning = _Aligning(nodes, checkpoints, stored)
    for name, node in nodes.items():
        if isinstance(node.method, Load) and node.method.vocab is not None:
            try:
                aligned = aligning.of(name)
                aligning.check(name, aligned)
            except _Unalignable as error:
                problem = error.problem.located(node.source.where(("vocab",)), name)
                aligning.problems.setdefault(name, []).append(problem)
    written = {name: each for name, each in aligning.known.items() if each.tokenizer}
    return written, aligning.problems


class _Unalignable(ValueError):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.fact)
        self.problem = problem


@dataclass
class _Aligning:
    nodes: Mapping[str, GraphNode]
    checkpoints: Mapping[str, Checkpoint]
    stored: Mapping[str, Stored]
    known: dict[str, Aligned] = field(default_factory=dict[str, Aligned])
    problems: dict[str, list[Problem]] = field(default_factory=dict[str, list[Problem]])
    begun: list[str] = field(default_factory=list[str])

    def of(self, name: str) -> Aligned:
        """The vocabulary that a load node ends up with. _Unalignable where it cannot be told."""
        if name not in self.known:
            if name in self.begun:
                circle = " aligns to ".join([*self.begun[self.begun.index(name) :], name])
                fix = "align all of them to one that has no `vocab:`"
                raise _Unalignable(Problem("The vocabularies align to each other in a circle.", why=circle, fix=fix))
            self.begun.append(name)
            method = self.nodes[name].method
            assert isinstance(method, Load)
            self.known[name] = self.made(name, method.vocab) if method.vocab is not None else self.plain(name)
            self.begun.pop()
        return self.known[name]

    def plain(self, name: str) -> Aligned:
        vocabulary = self.vocabulary(name)
        return Aligned(vocabulary, vocabulary.own, tuple(range(vocabulary.row_count)))

    def vocabulary(self, name: str) -> Vocabulary:
        """What a model is stored with."""
        checkpoint = self.checkpoints[name]
        tokens = read_tokens(checkpoint.folder) if checkpoint.is_folder else {}
        if not tokens:
            fact = f'"{name}" has no tokenizer to align by.'
            why = "rows are matched by token text, from tokenizer.json, vocab.json or vocab.txt"
            raise _Unalignable(Problem(fact, model=checkpoint.reference, why=why, fix=_TOKENIZER_FIX))
        rows = vocabulary_rows(self.stored[name], checkpoint.config)
        if not rows:
            fact = f'"{name}" has no embedding with a row for each token.'
            raise _Unalignable(Problem(fact, model=checkpoint.reference, fix="remove `vocab:`"))
        return Vocabulary(tokens, rows)

    def made(self, name: str, vocab: Vocab) -> Aligned:
        if self.nodes[name].space == "delta" and vocab.missing != "zero":
            fix = "add `missing: zero`: a token that a delta does not know does not change"
            raise _Unalignable(Problem(f'"{name}" is a delta: a row that it lacks is zero.', fix=fix))
        ours = self.vocabulary(name)
        if vocab.align is not None:
            return self.aligned(name, vocab, ours, vocab.align)
        members = list(vocab.union or ())
        return self.united(name, vocab, ours, members if name in members else [name, *members])

    def aligned(self, name: str, vocab: Vocab, ours: Vocabulary, target: str) -> Aligned:
        there = self.of(target)
        placed = placement(ours, there.vocabulary)
        if len(placed.absent) > _FEW * len(there.vocabulary.tokens):
            self.problems.setdefault(name, []).append(_strangers(name, target, placed, there.vocabulary))
        if ours == there.vocabulary:
            return replace(self.plain(name), tokenizer=there.tokenizer or target, tokenizer_json=there.tokenizer_json)
        taken = [Fill(target, there.rows, there.own), *there.fills]
        fills = self.padding(name, target, placed, taken)
        if vocab.missing == "base":
            lacking = [row is None and place not in placed.padding for place, row in enumerate(placed.rows)]
            fills += [fill.where(lacking) for fill in taken]
        return replace(
            _own_part(vocab, ours, placed, there.vocabulary),
            fills=tuple([fill for fill in fills if any(row != ZERO_ROW for row in fill.rows)]),
            tokenizer=there.tokenizer or target,
            tokenizer_json=there.tokenizer_json,
        )

    def padding(self, name: str, source: str, placed: Placement, taken: Sequence[Fill]) -> list[Fill]:
        """The rows without a token, of what `source` is made of; a delta has zeros there, and gives none."""
        if {self.nodes[name].space, self.nodes[source].space} != {"weights"}:
            return []
        wanted = [place in placed.padding for place in range(len(placed.rows))]
        return [fill.where(wanted, is_padding=True) for fill in taken]

    def united(self, name: str, vocab: Vocab, ours: Vocabulary, members: Sequence[str]) -> Aligned:
        vocabularies = [self.vocabulary(member) for member in members]
        target = union(vocabularies)
        placed = placement(ours, target)
        made = _own_part(vocab, ours, placed, target)
        first = Fill(members[0], tuple(range(target.row_count)), vocabularies[0].own)
        fills: list[Fill] = []
        if name == members[0]:
            made = replace(made, rows=tuple([r if r in placed.padding else row for r, row in enumerate(made.rows)]))
        elif placed.padding:
            fills += self.padding(name, members[0], placed, [first])
        if vocab.missing == "base":
            fills += _from_members(placed, target, list(zip(members, vocabularies, strict=True)))
        tokenizer_json = self.grown(members, target, vocabularies[0])
        return replace(made, fills=tuple(fills), tokenizer=members[0], tokenizer_json=tokenizer_json)

    def grown(self, members: Sequence[str], target: Vocabulary, first: Vocabulary) -> str:
        if target.tokens.keys() == first.tokens.keys():
            return ""
        paths = [self.checkpoints[member].folder / "tokenizer.json" for member in members]
        try:
            own, *others = [read_text(path) for path in paths]
            return grown(own, others, target.tokens)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            fact = "The tokenizers cannot be brought together: one is no tokenizer.json that is understood."
            why = f"{', '.join(str(path) for path in paths)}: {error}"
            raise _Unalignable(Problem(fact, why=why, fix=_TOKENIZER_FIX)) from None

    def check(self, name: str, aligned: Aligned) -> None:
        """Tensors that another node should give rows for must be there, and be of its width."""
        checkpoint, own = self.checkpoints[name], self.stored[name]
        row_count = vocabulary_rows(own, checkpoint.config)
        for tensor in vocabulary_tensors(own, row_count):
            if own[tensor].scale is not None or not own[tensor].dtype.is_float:
                fix = "give the checkpoint in bfloat16"
                raise _Unalignable(Problem("Rows of float8 blocks cannot be moved.", tensor=tensor, fix=fix))
            for fill in aligned.fills:
                other = self.stored[fill.node].get(tensor)
                if not fill.is_padding and not fill.fits(other, own[tensor]):
                    shape = "none" if other is None else f"{list(other.shape)} in {other.dtype.code}"
                    why = f'"{name}" has {list(own[tensor].shape)}, "{fill.node}" {shape}'
                    fix = "write `missing: mean` or `missing: zero`"
                    fact = f'"{fill.node}" cannot give the rows that "{name}" lacks.'
                    raise _Unalignable(Problem(fact, tensor=tensor, why=why, fix=fix))


_TOKENIZER_FIX = (
    "put the model's tokenizer.json beside its weights; `AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)` "
    "writes one"
)


def _own_part(vocab: Vocab, ours: Vocabulary, placed: Placement, target: Vocabulary) -> Aligned:
    fill = MEAN_ROW if vocab.missing == "mean" else ZERO_ROW
    lost = frozenset(row for token, row in ours.tokens.items() if token not in target.tokens)
    gaps = [ZERO_ROW if place in placed.padding else fill for place in range(len(placed.rows))]
    rows = tuple([gap if row is None else row for row, gap in zip(placed.rows, gaps, strict=True)])
    return Aligned(target, ours.own, rows, moved=placed.moved, lost=lost - placed.moved.keys())


def _from_members(placed: Placement, target: Vocabulary, members: Sequence[tuple[str, Vocabulary]]) -> Iterator[Fill]:
    """For each row that is missing, that of the first member with its token."""
    by_row = target.by_row
    wanted = {row: by_row[row] for row, source in enumerate(placed.rows) if source is None and row in by_row}
    for node, vocabulary in members:
        found = {
            row: vocabulary.tokens[token]
            for row, token in wanted.items()
            if vocabulary.tokens.get(token, vocabulary.row_count) < vocabulary.row_count
        }
        wanted = {row: token for row, token in wanted.items() if row not in found}
        if found:
            yield Fill(node, tuple([found.get(row, ZERO_ROW) for row in range(target.row_count)]), vocabulary.own)


def _strangers(name: str, target: str, placed: Placement, vocabulary: Vocabulary) -> Problem:
    count, total = len(placed.absent), len(vocabulary.tokens)
    shown = ", ".join(map(repr, placed.absent[:4]))
    return Problem(
        f'"{name}" has {total - count:,} of the {total:,} tokens of "{target}"; the others are filled in.',
        why=f"it lacks {shown}, …",
        fix="check that both tokenizers write their tokens alike",
        severity="warning",
    )
