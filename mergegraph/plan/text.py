"""A plan in words: what is read, computed, written and held; and, explained, what every tensor is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction

from mergegraph.errors import on_one_line
from mergegraph.expr import Apply, Cast, Expr, Factor, Joined, Linear, Product, Read, Stat, Value
from mergegraph.plan.plan import Output, Plan
from mergegraph.units import format_bytes, format_count
from mergegraph.views import MEAN_ROW, RowMap

_FORMULAS_SHOWN = 8
_DEPTH_SHOWN = 12
_LENGTH_SHOWN = 2_000
"""A diamond of 60 kernels has 2^60 paths; nobody reads them."""


def plan_text(plan: Plan) -> str:
    """One screen: inputs, outputs with their distinct formulas, memory, order."""
    return "\n".join(map(on_one_line, _lines(plan)))


def explain(plan: Plan) -> Iterator[str]:
    """One line for each output tensor: name, shape, dtype, and its formula with the resolved coefficients."""
    labels = _labels(plan)
    for output in plan.outputs:
        yield f"{output.node} -> {output.place}"
        width = max(len(tensor.name) for tensor in output.tensors)
        for tensor in output.tensors:
            shape = f"{list(tensor.shape)} {tensor.dtype.torch_name or tensor.dtype.code}"
            yield f"  {tensor.name:<{width}}  {shape:<26} {formula(tensor.root, labels)}"


def formula(expr: Expr, labels: Mapping[str, str]) -> str:
    """The expression as a person writes it; `labels` names the node of each file. Long parts end in `…`."""
    return _Formulas(labels).text(expr, 0)


class _Formulas:
    """Writes expressions; each sub-expression once, so that a diamond costs what it has nodes."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.labels = labels
        self.written: dict[tuple[Expr, int], str] = {}

    def text(self, expr: Expr, depth: int) -> str:
        if depth > _DEPTH_SHOWN:
            return "…"
        if (expr, depth) not in self.written:
            whole = self._text(expr, depth)
            self.written[expr, depth] = whole if len(whole) <= _LENGTH_SHOWN else whole[:_LENGTH_SHOWN] + "…"
        return self.written[expr, depth]

    def _text(self, expr: Expr, depth: int) -> str:
        match expr:
            case Read():
                label = self.labels.get(expr.path, expr.path)
                return label if expr.rows is None else f"{label}[{_rows(expr.rows)}]"
            case Cast():
                return self.text(expr.operand, depth)
            case Apply():
                operands = [self.text(x, depth + 1) for x in expr.operands]
                options = [_option(name, value) for name, value in expr.parameters]
                stats = [shown for stat in expr.stats if (shown := _stat(stat))]
                return f"{expr.kernel}({', '.join([*operands, *dict.fromkeys(stats), *options])})"
            case Linear() | Joined():
                return "".join(self._terms(expr, depth)) or "0"
            case Product():
                both = " ".join(dict.fromkeys(self.text(x, depth + 1) for x in (expr.left, expr.right)))
                return f"B A of {both}" + (" (transposed)" if expr.is_transposed else "")
            case Factor():
                return f"{expr.side}({self.text(expr.operand, depth + 1)}, rank={expr.rank})"

    def _terms(self, expr: Linear | Joined, depth: int) -> Iterator[str]:
        for index, (coefficient, operand) in enumerate(expr.terms):
            plus = "+" if isinstance(expr, Linear) else "|" if expr.axis else "over"
            sign = ("- " if plus == "+" else f"{plus} -") if coefficient < 0 and index else f"{plus} " if index else ""
            sign = sign or ("-" if coefficient < 0 else "")
            shown = self.text(operand, depth + 1)
            if isinstance(operand, Linear):
                shown = f"({shown})"
            number = "" if abs(coefficient) == 1 else f"{number_text(abs(coefficient))} "
            yield f"{' ' if index else ''}{sign}{number}{shown}"


def _stat(stat: Stat) -> str:
    """What a quantile asks for; sums follow from the kernel."""
    if stat.kind != "abs_quantile":
        return ""
    (_, rank), *numbers = stat.parameters
    shown = ", ".join([str(rank), *(_option(name, value) for name, value in numbers)])
    return f"{shown} of the {'tensor' if stat.population is None else 'model'}"


def _rows(rows: RowMap) -> str:
    """`rows 14 of 16, 2 mean`: how many rows of a view are stored ones."""
    stored = sum([count for first, count in rows.runs if first >= 0])
    mean = sum([count for first, count in rows.runs if first == MEAN_ROW])
    return f"{stored:,} of {rows.row_count:,} rows" + (f", {mean:,} mean" if mean else "")


def _option(name: str, value: Value) -> str:
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"


def number_text(number: Fraction) -> str:
    """Six digits, which is what a float32 can tell apart."""
    return f"{float(number):.6g}"


def _labels(plan: Plan) -> dict[str, str]:
    return {file.path: file.label for file in plan.inputs}


def _lines(plan: Plan) -> Iterator[str]:
    memory = plan.projection
    yield plan.name or "plan"
    stored = sum(file.file_bytes for file in plan.inputs)
    models = ", ".join(dict.fromkeys(file.label for file in plan.inputs))
    files = format_count(len(plan.inputs), "file")
    yield f"  reads    {format_bytes(plan.read_bytes)} of {format_bytes(stored)} in {files}: {models}"
    if plan.unread:
        yield f"  unread   {', '.join(plan.unread)}: cancels out, not a byte is read"
    yield f"  writes   {format_bytes(plan.write_bytes)}"
    yield (
        f"  memory   {format_bytes(memory.pool_bytes)} ({format_count(memory.workers, 'worker')}, tiles of "
        f"{memory.tile_elements:,} elements) of a budget of {format_bytes(memory.budget_bytes)}"
    )
    shared = sum(len(group.members) > 1 for group in plan.groups)
    yield f"  passes   {plan.passes}" + (
        f", {format_count(shared, 'group')} of tensors read once for several outputs" if shared else ""
    )
    if plan.comparisons:
        yield f"  compares {format_count(len(plan.comparisons), 'tensor')} that are not floating point, before the run"
    for output in plan.outputs:
        yield from _output_lines(output, _labels(plan))


def _output_lines(output: Output, labels: Mapping[str, str]) -> Iterator[str]:
    copied = sum(tensor.is_copy for tensor in output.tensors)
    kinds = Counter(tensor.dtype.torch_name or tensor.dtype.code for tensor in output.tensors)
    yield ""
    yield f"{output.node} -> {output.place}" + (f", made in {output.path}" if output.destination else "")
    yield (
        f"  {format_count(len(output.tensors), 'tensor')} ({', '.join(kinds)}), {copied:,} copied byte for byte; "
        f"{format_count(len(output.layout.files), 'file')}, {format_bytes(output.layout.file_bytes)}"
    )
    counts = Counter(formula(tensor.root, labels) for tensor in output.tensors)
    for text, count in counts.most_common(_FORMULAS_SHOWN):
        yield f"  {count:>6,} x  {text}"
    if len(counts) > _FORMULAS_SHOWN:
        yield f"          and {len(counts) - _FORMULAS_SHOWN} more formulas; --explain shows every tensor"
