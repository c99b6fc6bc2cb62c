"""Which documented rule a refusal goes by, where safetensors would have accepted the file: by the reason it gives."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mergegraph.errors import Problem

RULES: dict[str, str] = {
    # what docs/files.md calls it: the reason given, the whole of it
    "a key twice": r'the key ".*" is there twice',
    "a list of lists or of objects": r"it holds a list of lists or of objects",
    "brackets nested more than 3 deep": r"its brackets are nested more than 3 deep, or do not match",
    "a negative number": r"it holds a negative number",
    "a number with a fraction or an exponent": r"\S+ is not a whole number",
    "a dimension, an offset or a count of elements of 2^63 or more": r"its (shape|data_offsets) holds \d+, not a whole "
    r"number below 2\^63|its shape \[.*\] has 2\^63 elements or more",
    "more than 64 dimensions": r"its shape has more than 64 numbers",
    "a name of more than 65,536 bytes": r"its name is longer than 65536 bytes",
    "a dtype that is not a text": r"its dtype is not a text",
    "many small parts": r"it packs [\d,]+ texts, [\d,]+ keys and [\d,]+ lists and objects into [\d,]+ bytes",
    "a header above the cap": r"reading it can take 25 times its bytes in memory",
}


def documented_rule(problems: Sequence[Problem]) -> str | None:
    """The rule that one of the problems goes by; None where the library has to refuse the file too."""
    for problem in problems:
        why = problem.why.removeprefix("its header is not what safetensors writes: ")
        for rule, reason in RULES.items():
            if re.fullmatch(reason, why, re.DOTALL):
                return rule
    return None
