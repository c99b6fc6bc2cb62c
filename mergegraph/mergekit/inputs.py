"""Which models a slice merges, and which of them is its base.

What mergekit refuses is refused here too, with its line; what it ignores without a word is said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mergegraph.mergekit.config import Merge, Slice, Source
from mergegraph.mergekit.levels import EMPTY, Level
from mergegraph.mergekit.parameters import Findings
from mergegraph.mergekit.signatures import SIGNATURES, Base


@dataclass(frozen=True, slots=True)
class Chosen:
    """The inputs of a slice without its base, and the base; one of `inputs` where it is an input like the others."""

    inputs: tuple[Source, ...]
    base: Source | None


def chosen(merge: Merge, piece: Slice, findings: Findings, *, fix: bool) -> Chosen:
    """The inputs of `piece` and its base. Errors and warnings go to `findings`."""
    signature = SIGNATURES[merge.method]
    _check_twice(piece, findings)
    listed = next((each for each in piece.sources if merge.base and each.model.text == merge.base.text), None)
    if signature.base is Base.NEEDED and merge.base is None:
        findings.error(f"{merge.method} needs a base.", merge.at, "add `base_model: MODEL`")
        return Chosen(piece.sources, None)
    if merge.base is None or signature.base is Base.FILES_ONLY:
        result = Chosen(piece.sources, None)
    elif signature.base is Base.ANOTHER_INPUT:
        result = Chosen(_with_base(merge, piece, listed, findings, fix), None)
    else:
        if listed is None and merge.in_slices:
            fix_text = f"add {{model: {merge.base.text}, layer_range: [0, 16]}} to its sources"
            findings.error("The base is not among the sources of this slice.", piece.at, fix_text)
        _warn_of_unread_base(merge, listed, findings)
        base = listed or Source(merge.base, None, EMPTY)
        result = Chosen(tuple(each for each in piece.sources if each is not listed), base)
    _check_count(merge, piece, result, findings)
    return result


def check_levels(merge: Merge, findings: Findings) -> None:
    """A warning for every parameter that the method does not read where it is given."""
    signature = SIGNATURES[merge.method]
    everywhere = {*signature.per_model, *signature.shared}
    for piece in merge.slices:
        for source in piece.sources:
            _warn_unread(merge, source.parameters, signature.per_model, everywhere, findings)
        _warn_unread(merge, piece.parameters, everywhere, everywhere, findings)
    _warn_unread(merge, merge.parameters, everywhere, everywhere, findings)


def _warn_unread(merge: Merge, level: Level, read: Iterable[str], anywhere: set[str], findings: Findings) -> None:
    known = set(read)
    for name, setting in level.items():
        if name in known:
            continue
        if name in anywhere:
            fact = f'"{name}" counts for the whole merge, not for one model: mergekit ignores it here.'
            findings.warning(fact, setting.at, "move it to `parameters:` of the slice or of the merge")
        else:
            fact = f'{merge.method} reads no "{name}": mergekit ignores it, and so does the recipe.'
            findings.warning(fact, setting.at, "delete it, or use a method that has it")


def _warn_of_unread_base(merge: Merge, listed: Source | None, findings: Findings) -> None:
    read = SIGNATURES[merge.method].per_model
    for name, setting in listed.parameters.items() if listed else ():
        if name in read:
            fact = f'"{name}" is given to the base, whose difference from itself is nothing: mergekit ignores it.'
            findings.warning(fact, setting.at, "delete it")


def _with_base(merge: Merge, piece: Slice, listed: Source | None, findings: Findings, fix: bool) -> tuple[Source, ...]:
    """The sources; mergekit takes a base that is named and not listed in as well, where there are no slices."""
    if listed is not None or merge.in_slices or merge.base is None:
        return piece.sources
    if fix:
        return piece.sources
    fact = f"{merge.method} averages the base model in with the others."
    why = "mergekit 0.1.5 does so with a `base_model` that is not in `models`"
    findings.warning(fact, merge.base.at, "--fix-known-faults leaves it out; or delete `base_model`", why)
    return (Source(merge.base, None, EMPTY), *piece.sources)


def _check_twice(piece: Slice, findings: Findings) -> None:
    seen: set[tuple[str, tuple[int, int] | None]] = set()
    for source in piece.sources:
        key = source.model.text, source.layers
        if key in seen:
            fact = f"The model {source.model.text} is merged with itself."
            findings.error(fact, source.model.at, "list it once, with the sum of its weights")
        seen.add(key)


def _check_count(merge: Merge, piece: Slice, result: Chosen, findings: Findings) -> None:
    signature = SIGNATURES[merge.method]
    fewest, most = signature.inputs
    count = len(result.inputs) + (signature.counts_base and result.base is not None)
    if fewest <= count <= most:
        return
    wanted = f"exactly {fewest}" if fewest == most else f"at least {fewest}"
    beside = "" if signature.counts_base or signature.base is Base.FILES_ONLY else " beside the base"
    models = "model" if fewest == 1 else "models"
    fact = f"{merge.method} takes {wanted} {models}{beside}, and this has {count}."
    findings.error(fact, piece.at, "add or remove models, or choose another `merge_method`")
