"""Where a NaN or Inf came from: the inputs of one output tensor are read once more and counted."""

from __future__ import annotations

import torch

from mergegraph.dtypes import BY_CODE
from mergegraph.errors import Problem, RunError
from mergegraph.execute.results import NonFinite
from mergegraph.execute.views import TORCH_DTYPES, Source, read_view
from mergegraph.expr import Read
from mergegraph.plan.plan import Plan
from mergegraph.units import format_count
from mergegraph.walking import reads

_CHUNK_ELEMENTS = 1 << 20


def explained(error: NonFinite, plan: Plan, source: Source, kept: int = 0, where: str = "") -> RunError:
    """The error a person reads: which model holds how many, or which node made them.

    `kept` finished tensors stay on disk, in the folders `where`. They belong to these inputs and this recipe: who
    mends those begins again.
    """
    labels = {file.path: file.label for file in plan.inputs}
    found = [(labels[read.path], *count_nonfinite(read, source)) for read in reads(error.tensor.root)]
    guilty = {label: f'"{label}" holds {nans:,} NaN and {infs:,} Inf' for label, nans, infs in found if nans or infs}
    node = error.output.computed_by
    origin = (
        "; ".join(guilty.values()) or f'its inputs are finite: node "{node}" made them, {error.count:,} in one tile'
    )
    kept_text = f"{format_count(kept, 'finished tensor')} {'is' if kept == 1 else 'are'} kept in {where}"
    models = " and ".join(f'"{label}"' for label in guilty)
    mend = f"put an intact model in place of {models}" if guilty else f'use smaller numbers in node "{node}"'
    return RunError(
        Problem(
            f"{error.tensor.name} is not finite.",
            at=error.output.at,
            node=node,
            tensor=error.tensor.name,
            why=f"{origin}\n{kept_text}" if kept else origin,
            fix=f"{mend}, and run again{' with --overwrite' if kept else ''};\n"
            f"or go on with --allow-non-finite, which writes and counts them",
        )
    )


def count_nonfinite(read: Read, source: Source) -> tuple[int, int]:
    """(NaN count, Inf count) of a stored tensor, in chunks of 1,048,576 elements."""
    dtype = BY_CODE[read.dtype]
    if not dtype.is_float:
        return 0, 0
    nans = infs = 0
    compute_dtype = torch.float64 if read.dtype == "F64" else torch.float32
    step = _CHUNK_ELEMENTS * dtype.itemsize
    for offset in range(0, read.nbytes, step):
        raw = bytearray(min(step, read.nbytes - offset))
        read_view(read, offset, memoryview(raw), source)
        values = torch.frombuffer(raw, dtype=TORCH_DTYPES[read.dtype]).to(compute_dtype)
        nans += int(values.isnan().sum())
        infs += int(values.isinf().sum())
    return nans, infs
