"""Recipes written in Python: operators on handles make the same Recipe that a YAML file does.

    >>> import mergegraph as mg
    >>> base, code = mg.load("./models/base"), mg.load("./models/code")
    >>> merged = base + 0.6 * (code - base)
    >>> print(mg.save(merged, "out/coder"))
    mergegraph: 1
    name: coder
    nodes:
      base: {op: load, model: ./models/base}
      code: {op: load, model: ./models/code}
      n1: {op: delta, model: code, base: base}
      n2: {op: scale, input: n1, by: 0.6}
      n3:
        op: sum
        inputs: [base, n2]
      out: {op: save, input: n3, path: out/coder}
    <BLANKLINE>

`mg.save(merged, "out/coder").run()` merges.

A handle is a node that has no name yet, or the one it was given with `name=`; models are called after their folder,
the others n1, n2, … when the recipe is made. Paths are relative to the current folder. Numbers enter as the decimal
that is written. Nothing is read but the headers of models, and nothing is computed before `run`.
"""

from __future__ import annotations

from mergegraph.builder.handle import Handle as Handle
from mergegraph.builder.handle import node as node
from mergegraph.builder.merge import Merge as Merge
from mergegraph.builder.verbs import clamp as clamp
from mergegraph.builder.verbs import delta as delta
from mergegraph.builder.verbs import load as load
from mergegraph.builder.verbs import merge as merge
from mergegraph.builder.verbs import negate as negate
from mergegraph.builder.verbs import save as save
from mergegraph.builder.verbs import scale as scale
from mergegraph.builder.verbs import select as select
from mergegraph.builder.verbs import soup as soup
from mergegraph.builder.verbs import stack as stack
