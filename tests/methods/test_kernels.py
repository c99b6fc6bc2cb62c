"""What every operation that computes keeps, worked out from its class and its example: the next is tested as it is."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mergegraph.execute.executors.for_loop import whole_tensor
from mergegraph.execute.noise import draw_equal, fill_uniform
from mergegraph.expr import Expr, cast
from mergegraph.methods.base import Method
from mergegraph.methods.electing import elected_sign
from mergegraph.methods.registry import kernels, methods
from mergegraph.walking import reads
from tests.methods.bench import CODES, KERNELS, Models, calls_of, expression, models_for, normal, shape_of, tiled
from tests.methods.examples import example
from tests.methods.references import Case, cases


def calls(op: str) -> list[Any]:
    """Those of an example, and of what statistics of it compute beside them."""
    own = calls_of(op)
    return [*own, *(elected_sign(call) for call in own if kernels()[call.kernel].loses == "election")]


CALLED = sorted({call.kernel for op in KERNELS for call in calls(op)})
"""The kernels that the examples use."""


def first_call(kernel: str) -> Any:
    """One call of a kernel in some example."""
    return next(call for op in KERNELS for call in calls(op) if call.kernel == kernel)


def test_every_kernel_is_used_by_an_example_or_a_case() -> None:
    own = {name for name, cls in kernels().items() if cls.__module__.startswith("mergegraph.") and _has_tile(cls)}
    used = {call.kernel for case in cases() for call in calls_in(case)}
    assert own == used | set(CALLED)


def _has_tile(cls: type[Any]) -> bool:
    return cls.tile.__func__ is not Method.tile.__func__  # pyright: ignore


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("op", KERNELS)
def test_bits_do_not_depend_on_the_tile(op: str, code: str) -> None:
    models, shape = models_for(op, code), shape_of(op)
    expr = expression(example(op)[1], models.reads)
    whole = tiled(expr, models, 1 << 30, shape, code)
    assert len(whole) == torch.Size(shape).numel() * CODES[code].itemsize
    for tile in (7, 512, 4095):
        assert tiled(expr, models, tile, shape, code) == whole, f"tiles of {tile}"


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("op", KERNELS)
def test_bits_are_those_of_each_value_alone(op: str, code: str) -> None:
    """Or of each row or matrix, where a kernel needs them whole."""
    shape = shape_of(op) if len(shape_of(op)) == 2 else (211,)
    models = models_for(op, code, lambda n: normal(n, CODES[code], shape))
    expr = expression(example(op)[1], models.reads)
    assert tiled(expr, models, 1, shape, code) == tiled(expr, models, 1 << 30, shape, code)


@pytest.mark.parametrize("op", [op for op in KERNELS if len(shape_of(op)) == 2 and shape_of(op)[0] == 48])
def test_a_stack_of_matrices_is_computed_one_by_one(op: str) -> None:
    count, (rows, columns) = len(example(op)[1].edges()), shape_of(op)
    stacks = [normal(n, torch.float32, (3, rows, columns)) for n in range(count)]
    stacked = Models(stacks, "F32")
    whole = tiled(expression(example(op)[1], stacked.reads), stacked, 1 << 30, (3, rows, columns), "F32")
    if any(call.noise for call in calls_of(op)):
        return
    alone = [Models([stack[n].contiguous() for stack in stacks], "F32") for n in range(3)]
    parts = [tiled(expression(example(op)[1], each.reads), each, 1 << 30, (rows, columns), "F32") for each in alone]
    assert whole == b"".join(parts)


@pytest.mark.parametrize("op", KERNELS)
def test_the_reference_executor_gives_the_same_bits(op: str) -> None:
    models, shape = models_for(op, "F32"), shape_of(op)
    expr = expression(example(op)[1], models.reads)
    whole = whole_tensor(cast(expr, "F32"), shape, models.source)
    assert bytes(whole.content) == tiled(expr, models, 512, shape, "F32")


class Allocations(TorchDispatchMode):
    """Tensors of more than one element that lie in memory of their own, not in `given`."""

    def __init__(self, given: Sequence[Tensor]) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.known = {tensor.untyped_storage().data_ptr() for tensor in given}
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result: Any = func(*args, **(kwargs or {}))
        leaves: list[Any] = tree_leaves(result)
        for each in leaves:
            if isinstance(each, Tensor) and each.numel() > 1 and each.untyped_storage().data_ptr() not in self.known:
                self.found.append(f"{func} made {list(each.shape)}")
        return result


class Bench:
    """One call of a kernel, with what it took. Scratch holds NaN, as leftovers of another tile may."""

    def __init__(self, tile: Callable[..., None], call: Any, operands: Sequence[Tensor], stats: Sequence[Any]) -> None:
        self.out = torch.full_like(operands[0], torch.nan)
        self.spare = [torch.full_like(self.out, torch.nan) for _ in range(32)]
        self.hash_space = torch.empty_like(self.out).view(-1)
        self.taken = 0
        kernel = SimpleNamespace(
            ops=torch, out=self.out, p=SimpleNamespace(**dict(call.parameters)), stats=stats,
            scratch=self.scratch, uniform=self.uniform, draw_equal=self.draw_equal,
        )  # fmt: skip
        self.allocations = Allocations([self.out, *self.spare, *operands])
        with self.allocations:
            tile(kernel, *operands)

    def scratch(self) -> Tensor:
        self.taken += 1
        return self.spare[self.taken - 1]

    def uniform(self, out: Tensor) -> Tensor:
        with torch.utils._python_dispatch._disable_current_modes():  # pyright: ignore
            fill_uniform(out.view(-1), 1, 0, self.hash_space)
        return out

    def draw_equal(self, operand: Tensor, size: float, share: float) -> None:
        with torch.utils._python_dispatch._disable_current_modes():  # pyright: ignore
            draw_equal(self.out.view(-1), operand.view(-1), size, share, 1, 0)


def given_stats(call: Any) -> list[Any]:
    """Plausible statistics for a call: sums of one size, and a threshold with half of its equals wanted."""
    from mergegraph.statistic import Threshold

    return [Threshold(0.5, 1000, 2, 1001) if stat.kind == "abs_quantile" else 4211.0 for stat in call.stats]


@pytest.mark.parametrize("kernel", [k for k in CALLED if kernels()[k].granularity != "matrix"])
def test_a_kernel_keeps_its_inputs_and_its_promise_of_memory(kernel: str) -> None:
    call, cls = first_call(kernel), kernels()[kernel]
    shape = (61, 71) if cls.granularity == "row" else (4211,)
    operands = [normal(seed, torch.float32, shape) for seed in range(len(call.operands))]
    before = [operand.clone() for operand in operands]
    bench = Bench(cls.tile, call, operands, given_stats(call))
    whole = ("made [61, 71]", "made [4331]", "made [1, 4331]")
    large = [found for found in bench.allocations.found if cls.granularity == "element" or found.endswith(whole)]
    assert large == []
    assert bench.taken <= cls.scratch
    assert all(torch.equal(one, other) for one, other in zip(operands, before, strict=True))
    assert not bench.out.isnan().any(), "every element of the result is written"


def test_an_allocation_in_a_kernel_is_noticed() -> None:
    def greedy(k: Any, a: Tensor, b: Tensor) -> None:
        k.scratch()
        k.out.copy_(a * b)

    call = SimpleNamespace(parameters=())
    bench = Bench(greedy, call, [normal(0, torch.float32, (4211,)), normal(1, torch.float32, (4211,))], [])
    assert bench.allocations.found == ["aten.mul.Tensor made [4211]"]
    assert bench.taken == 1


FINITE: Mapping[str, Callable[[int, tuple[int, ...]], Tensor]] = {
    "zeros": lambda n, shape: torch.zeros(shape),
    "identical": lambda n, shape: normal(0, torch.float32, shape),
    "opposite": lambda n, shape: normal(0, torch.float32, shape) * (-1) ** n,
    "one is zero": lambda n, shape: normal(0, torch.float32, shape) * (n == 0),
    "all but the second are zero": lambda n, shape: normal(0, torch.float32, shape) * (n == 1),
    "smaller than a normal float32": lambda n, shape: normal(n, torch.float32, shape) * 1e-40,
    "squares vanish": lambda n, shape: normal(n, torch.float32, shape) * 1e-30,
    "squares overflow": lambda n, shape: normal(n, torch.float32, shape) * 1e30,
    "the largest of one sign": lambda n, shape: torch.full(shape, 1e30),
}


REFUSED = {("karcher", "opposite")}
"""Inputs that have no result: karcher has an error for opposite directions, tested with the sphere."""


@pytest.mark.parametrize("made", FINITE)
@pytest.mark.parametrize("op", KERNELS)
def test_finite_numbers_stay_finite(op: str, made: str) -> None:
    if (op, made) in REFUSED:
        return
    shape = shape_of(op)
    models = models_for(op, "F32", lambda n: FINITE[made](n, shape))
    raw = tiled(expression(example(op)[1], models.reads), models, 512, shape, "F32")
    assert torch.frombuffer(bytearray(raw), dtype=torch.float32).isfinite().all()


@pytest.mark.parametrize("op", KERNELS)
def test_one_model_in_every_place_is_fine(op: str) -> None:
    shape = shape_of(op)
    models = Models([normal(0, torch.float32, shape)], "F32")
    expr = expression(example(op)[1], models.reads * len(example(op)[1].edges()))
    raw = tiled(expr, models, 512, shape, "F32")
    assert set(reads(expr)) <= set(models.reads)
    assert torch.frombuffer(bytearray(raw), dtype=torch.float32).isfinite().all()


def method_of(case: Case) -> Method:
    fields = yaml.safe_load(case.node)
    return methods()[fields["op"]].model_validate(fields)


def expression_of(case: Case, models: Models) -> Expr:
    return expression(method_of(case), models.reads)


def calls_in(case: Case) -> list[Any]:
    from mergegraph.expr import Apply
    from mergegraph.walking import walk

    method = method_of(case)
    models = Models([torch.zeros(4, 4)] * len(method.edges()), "F32")
    models.reads = [Models([torch.zeros(4, 4)] * (n + 1), "F32").reads[n] for n in range(len(method.edges()))]
    return [part for part in walk(expression_of(case, models)) if isinstance(part, Apply)]


def test_every_operation_that_computes_has_a_formula() -> None:
    own = {op for op in KERNELS if methods()[op].__module__.startswith("mergegraph.")}
    assert own <= {method_of(case).op for case in cases()}


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.node)
@pytest.mark.parametrize("seed", [0, 100])
def test_an_operation_computes_its_formula(case: Case, seed: int) -> None:
    method = method_of(case)
    granularities = {kernels()[call.kernel].granularity for call in calls_in(case)}
    shape = (48, 31) if "matrix" in granularities else (61, 71)
    operands = [normal(seed + n, torch.float32, shape) for n in range(len(method.edges()))]
    models = Models(operands, "F32")
    wanted = case.formula(*(operand.double() for operand in operands))
    raw = tiled(expression(method, models.reads), models, 1009, shape, "F32")
    computed = torch.frombuffer(bytearray(raw), dtype=torch.float32).double().view(shape)
    assert wanted.shape == computed.shape
    assert (computed - wanted).abs().max() <= case.tolerance * wanted.abs().max()


BANNED = {
    *("pow", "float_power", "exp2", "atan2", "sinh", "cosh", "sigmoid", "softplus", "silu", "gelu", "logaddexp"),
    *("rsqrt", "where", "masked_fill"),
}
"""Their bits depend on where an element falls in a tile, or they are slow (`where`, `masked_fill`)."""


def banned_in(function: Callable[..., Any], known: Mapping[str, Any]) -> list[str]:
    """The banned operators in a function and in the functions it names; `known` is what its names stand for."""
    found: list[str] = []
    pending, seen = [function], {function}
    while pending:
        current = pending.pop()
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(current)))):
            if isinstance(node, ast.Attribute) and node.attr.rstrip("_") in BANNED:
                found.append(node.attr)
            if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Pow):
                found.append("**")
            name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            named = getattr(known.get(name), "__func__", known.get(name))
            if isinstance(named, FunctionType) and named not in seen:
                seen.add(named)
                pending.append(named)
    return found


@pytest.mark.parametrize("kernel", CALLED)
def test_kernels_use_no_operator_whose_bits_depend_on_the_tile(kernel: str) -> None:
    cls = kernels()[kernel]
    tile = cls.tile.__func__  # pyright: ignore
    members = {name: inspect.getattr_static(cls, name) for name in dir(cls) if name != "tile"}
    assert banned_in(tile, {**tile.__globals__, **members}) == []


def _planted_power(k: Any, a: Tensor) -> None:
    k.out.copy_(_planted_gate(a) ** 2)


def _planted_gate(a: Tensor) -> Tensor:
    return a.sigmoid_()


def _clean(k: Any, a: Tensor) -> None:
    k.ops.sqrt(a, out=k.out)


def test_the_scan_finds_what_is_planted_also_in_a_function_that_is_called() -> None:
    assert banned_in(_planted_power, globals()) == ["**", "sigmoid_"]
    assert banned_in(_clean, globals()) == []


@pytest.mark.parametrize("kernel", CALLED)
def test_kernels_take_torch_from_what_they_are_given(kernel: str) -> None:
    """`k.ops` is torch: a module of methods imports it for types only."""
    module = inspect.getmodule(kernels()[kernel])
    assert not any(getattr(value, "__name__", "") == "torch" for value in vars(module).values())
