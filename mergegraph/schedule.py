"""Which number a schedule gives to each tensor, and what is wrong with its rules.

    number      that number for every tensor
    gradient    straight lines through the values, evenly spaced over layers 0 … L-1 of the tensor's own tower
    rules       the first rule that matches decides; its value is a number or a gradient

A tensor outside the layers takes a gradient's first value if an embedding holds it, else the last. Numbers are the
exact fractions of the decimals that were written; nothing is rounded here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction

from mergegraph.errors import Location, Problem
from mergegraph.fields import Rule, Selector
from mergegraph.naming import layer_counts, role, under_embedding
from mergegraph.selecting import Selection, glob, is_catch_all
from mergegraph.units import format_count

ScheduleValue = float | tuple[float, ...] | tuple[Rule, ...]


class Gradient:
    """A number or a gradient over the layers; `counts` is the number of layers of each tower."""

    __slots__ = ("_by_layer", "_counts", "_values")

    def __init__(self, values: Sequence[float], counts: Mapping[str, int]) -> None:
        self._values = tuple(Fraction(repr(value)) for value in values)
        self._counts = counts
        self._by_layer: dict[tuple[str, int], Fraction] = {}

    def value(self, name: str) -> Fraction:
        """The number for the tensor `name`, whose tower must be among the counted ones."""
        if len(self._values) == 1:
            return self._values[0]
        named = role(name)
        if named.layer is None:
            return self._values[0 if under_embedding(name) else -1]
        key = named.tower, named.layer
        if key not in self._by_layer:
            self._by_layer[key] = self._at(named.layer, self._counts[named.tower])
        return self._by_layer[key]

    def _at(self, layer: int, count: int) -> Fraction:
        """v_i + (p - i) (v_{i+1} - v_i), where p = layer (n - 1) / (count - 1) and i = ⌊p⌋."""
        if count == 1:
            return self._values[0]
        before, rest = divmod(layer * (len(self._values) - 1), count - 1)
        low = self._values[before]
        return low + Fraction(rest, count - 1) * (self._values[before + 1] - low) if rest else low


@dataclass(frozen=True, slots=True)
class ResolvedSchedule:
    """A schedule against the tensors of one model. A plain number or gradient is one rule without a condition."""

    rules: tuple[tuple[Selection, Gradient], ...]

    def rule(self, name: str) -> int | None:
        """Which rule decides the tensor `name`, from 0; None where none does."""
        return next((index for index, (selection, _) in enumerate(self.rules) if selection.matches(name)), None)

    def value(self, name: str) -> Fraction:
        """The exact number for `name`, a tensor it was resolved for. KeyError where no rule matches."""
        for selection, gradient in self.rules:
            if selection.matches(name):
                return gradient.value(name)
        raise KeyError(name)


def resolve_schedule(
    schedule: ScheduleValue,
    names: Sequence[str],
    *,
    field: str,
    tied: bool = False,
    where: Callable[[int], Location | None] = lambda rule: None,
) -> tuple[ResolvedSchedule, tuple[Problem, ...]]:
    """The number that `schedule` gives to each of `names`, and what is wrong with it.

    `field` is what problems call it (`by`, `weight of input 2`); `where` gives the place of a rule, from 0, and the
    caller that of the whole. `tied` says that the model's head is its embedding: a rule for the head may match nothing
    then, and must give what the embedding gets. Where there are errors among the problems, some tensors may have no
    value.
    """
    counts = layer_counts(names)
    resolved: list[tuple[Selection, Gradient]] = []
    problems: list[Problem] = []
    undecided = dict.fromkeys(names)
    catch_all = 0
    rules = _as_rules(schedule)
    for number, rule in enumerate(rules, 1):
        words = f"Rule {number} of {field}"
        selection = _compiled(rule, names, words)
        if isinstance(selection, Problem):
            problems.append(selection.located(where(number - 1)))
            continue
        resolved.append((selection, Gradient(_values(rule), counts)))
        matched = [name for name in names if selection.matches(name)]
        decided = [name for name in matched if name in undecided]
        if tied and not matched and _is_of_tied_head(rule, selection, names):
            taken = [_TIED_HEAD] if any(earlier.matches(_TIED_HEAD) for earlier, _ in resolved[:-1]) else []
            found = _shadowed(words, taken, (), catch_all)
        else:
            found = _unmatched(rule, matched, names, words, tied) or _shadowed(words, matched, decided, catch_all)
        found = (*found, *_unreached(_values(rule), matched, counts, words if len(rules) > 1 else field))
        problems += [problem.located(where(number - 1)) for problem in found]
        for name in decided:
            del undecided[name]
        catch_all = catch_all or (number if is_catch_all(rule) else 0)
    made = ResolvedSchedule(tuple(resolved))
    # A rule that cannot be read may have been meant for the tensors that are left.
    if undecided and len(resolved) == len(rules):
        problems.append(_undecided(tuple(undecided), field))
    if tied and not any(problem.severity == "error" for problem in problems):
        problems += [problem.located(where(rule)) for rule, problem in _torn_tie(made, rules, names, field)]
    return made, tuple(problems)


def _unreached(
    values: Sequence[float], matched: Sequence[str], counts: Mapping[str, int], words: str
) -> Iterable[Problem]:
    """A warning where a gradient has so many values that some lie beside no layer. Its ends count for other tensors."""
    layers = max((counts[named.tower] for named in map(role, matched) if named.layer is not None), default=0)
    steps, last = max(layers - 1, 1), len(values) - 1
    idle = [
        f"{value:g}"
        for index, value in enumerate(values)
        if 0 < index < last and all(abs(layer * last - index * steps) >= steps for layer in range(layers))
    ]
    if layers and idle:
        yield Problem(
            f"{words} has {len(values)} values for {format_count(layers, 'layer')}: {' and '.join(idle)} "
            f"{'counts' if len(idle) == 1 else 'count'} for none.",
            why="a list is a gradient: its values are spread over the layers, never over the inputs",
            fix=f"give at most {max(layers, 2)}, the first layer's and the last's among them",
            severity="warning",
        )


def select(
    selector: Selector, names: Sequence[str], *, field: str, tied: bool = False
) -> tuple[frozenset[str], tuple[Problem, ...]]:
    """The tensors that `selector` means, and what is wrong with it; `field` and `tied` as in `resolve_schedule`."""
    selection = _compiled(selector, names, field)
    if isinstance(selection, Problem):
        return frozenset(), (selection,)
    matched = [name for name in names if selection.matches(name)]
    return frozenset(matched), _unmatched(selector, matched, names, field, tied)


def _as_rules(schedule: ScheduleValue) -> tuple[Rule, ...]:
    if isinstance(schedule, float | int):
        return (Rule(value=schedule),)
    values = tuple(item for item in schedule if not isinstance(item, Rule))
    return (Rule(value=values),) if values else tuple(item for item in schedule if isinstance(item, Rule))


def _values(rule: Rule) -> tuple[float, ...]:
    return rule.value if isinstance(rule.value, tuple) else (rule.value,)


def _compiled(selector: Selector, names: Sequence[str], words: str) -> Selection | Problem:
    try:
        return Selection(selector, names)
    except ValueError as error:
        return Problem(f"{words}: {error}.")


def _unmatched(
    selector: Selector, matched: Sequence[str], names: Sequence[str], words: str, tied: bool
) -> tuple[Problem, ...]:
    """An error for a glob that hits nothing, a warning for conditions that hit nothing together."""
    if matched or is_catch_all(selector):
        return ()
    if selector.match is not None and not any(map(glob(selector.match), names)):
        return (_glob_hits_nothing(selector.match, names, words, tied),)
    if tied and selector.kind == "head":
        return (Problem(f"{words}: head is tied, the embedding's value applies.", severity="warning"),)
    fact = f"{words} matches no tensor: {_conditions(selector)}."
    return (Problem(fact, why=_what_there_is(selector, names), severity="warning"),)


def _conditions(selector: Selector) -> str:
    given = selector.model_dump(include={"match", "kind", "part", "layers"}, exclude_none=True)
    return ", ".join(
        f'{key} "{text}"' if key in ("match", "layers") else f"{key} {text}" for key, text in given.items()
    )


_TIED_HEAD = "lm_head.weight"
"""What a head is called that is not stored."""
_OTHER_EMBEDDING = re.compile(r"wpe|pos|patch|time|type|class|cls|mask|regist|label|vis|image|audio", re.IGNORECASE)


def _token_embedding(names: Iterable[str]) -> str:
    """The embedding that a head may be tied to; empty where there is none."""
    named = [name for name in names if role(name).kind == "embedding" and role(name).layer is None]
    return min([name for name in named if not _OTHER_EMBEDDING.search(name)], key=len, default="")


def _is_of_tied_head(rule: Rule, selection: Selection, names: Iterable[str]) -> bool:
    """Whether a rule that matches nothing is the tied head's, whose number the embedding's can be compared with."""
    is_of_head = rule.kind == "head" and rule.match is None and selection.matches(_TIED_HEAD)
    return is_of_head and bool(_token_embedding(names))


def _torn_tie(
    made: ResolvedSchedule, rules: Sequence[Rule], names: Sequence[str], field: str
) -> Iterator[tuple[int, Problem]]:
    """A rule for a head that is not stored, with another number than its embedding gets, and which rule that is."""
    embedding = _token_embedding(names)
    if not embedding or any(role(name).kind == "head" for name in names):
        return
    head_rule, rule = made.rule(_TIED_HEAD), made.rule(embedding)
    if head_rule is None or rule is None or rules[head_rule].kind != "head":
        return
    ours, theirs = made.value(_TIED_HEAD), made.value(embedding)
    if ours != theirs:
        one, other = f"rule {head_rule + 1}", f"rule {rule + 1}"
        fact = f"Head and embedding are tied, and {one} and {other} of {field} give them two numbers."
        why = f"{one} gives the head {float(ours):g}, {other} gives {embedding} {float(theirs):g}"
        fix = f"write the same value in both, or leave rule {head_rule + 1} out: the head is the embedding"
        yield head_rule, Problem(fact, tensor=embedding, why=why, fix=fix)


def _what_there_is(selector: Selector, names: Sequence[str]) -> str:
    if selector.layers is not None:
        counts = layer_counts(names)
        towers = ", ".join(f"{tower} has {format_count(count, 'layer')}" for tower, count in sorted(counts.items()))
        return towers or "no tensor is in a layer"
    return "kinds here: " + (", ".join(sorted({role(name).kind for name in names})) or "none")


def _glob_hits_nothing(pattern: str, names: Sequence[str], words: str, tied: bool) -> Problem:
    why = ""
    anywhere = f"*{pattern}*"
    if any(map(glob(anywhere), names)):
        why, fix = "the pattern must fit the whole name", f'match: "{anywhere}"'
    else:
        nearest = _nearest(pattern, names)
        fix = f"the nearest tensor is {nearest}" if nearest else "there are no tensors"
        if tied and fnmatchcase("lm_head.weight", pattern):
            why = "the head is tied: the embedding's value applies"
    return Problem(f'{words} matches no tensor: match "{pattern}".', why=why, fix=fix)


def _nearest(pattern: str, names: Sequence[str]) -> str:
    """The name that shares the longest run of letters with the pattern; of each layer stack, one layer is looked at."""
    comparison = difflib.SequenceMatcher(a="", b=re.sub(r"[*?\[\]]+", "", pattern), autojunk=False)

    def likeness(name: str) -> tuple[int, float]:
        comparison.set_seq1(name)
        return comparison.find_longest_match().size, comparison.ratio()

    distinct = {re.sub(r"[0-9]+", "0", name): name for name in reversed(names)}
    return max(reversed(distinct.values()), key=likeness, default="")


def _shadowed(words: str, matched: Sequence[str], decided: Sequence[str], catch_all: int) -> tuple[Problem, ...]:
    """`catch_all` is the number of an earlier rule that has no condition, 0 where there is none."""
    if decided or not matched:
        return ()
    if catch_all:
        fact = f"{words} is never reached: rule {catch_all} has no condition."
        fix = f"move rule {catch_all} to the end"
    else:
        taken = format_count(len(matched), "tensor")
        fact, fix = f"{words} decides nothing: earlier rules take its {taken}.", "move it up, or leave it out"
    return (Problem(fact, fix=fix, severity="warning"),)


def _undecided(names: Sequence[str], field: str) -> Problem:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
    return Problem(
        f"No rule of {field} matches {format_count(len(names), 'tensor')}: {shown}.",
        fix="add a last rule without a condition: {value: …}",
    )
