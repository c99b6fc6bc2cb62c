"""What every kernel in the registry keeps, worked out from its class and its example: the next is tested as it is."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mergegraph.execute.evaluate import Arena, Finished, byte_view, evaluate
from mergegraph.expr import Apply, Expr, Read, Space, cast, read, reads, walk
from mergegraph.methods.base import Method, Parameters
from mergegraph.methods.registry import methods
from mergegraph.plan.memory import tile_shape
from mergegraph.plan.program import computation
from mergegraph.schedule import resolve_schedule
from tests.methods.examples import OPS, example

KERNELS = [op for op in OPS if methods()[op].tile.__func__ is not Method.tile.__func__]  # pyright: ignore
ELEMENTS = 4211
"""A prime above 4095, so that no tile of the test divides it."""


class Models:
    """Tensors in memory that expressions read as if they were files. All have one length and dtype."""

    def __init__(self, tensors: Sequence[Tensor], code: str) -> None:
        self.content = {f"model{n}": bytes(byte_view(tensor.view(torch.uint8))) for n, tensor in enumerate(tensors)}
        self.reads = [
            read(f"model{n}", "w", code, tuple(tensor.shape), 0, tensor.nbytes) for n, tensor in enumerate(tensors)
        ]

    def source(self, path: str, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.content[path][offset : offset + len(buffer)]


def expression(method: Method, inputs: Sequence[Read]) -> Expr:
    """The method on `inputs`, one for each edge, with the numbers of its example."""
    takes_deltas = method.gives == "delta"
    spaces: list[Space] = [
        "delta" if edge.accepts == "delta" or (edge.accepts == "any" and takes_deltas) else "weights"
        for edge in method.edges()
    ]
    schedules = {
        path: resolve_schedule(schedule, ["w"], field="", tied=False)[0] for path, schedule in method.coefficients()
    }
    parameters = Parameters({path: schedule.value("w") for path, schedule in schedules.items()})
    return method.expand(list(inputs), parameters, method.space(spaces))


def tiled(expr: Expr, models: Models, tile: int, elements: int, code: str) -> bytes:
    """The output bytes, computed in tiles of `tile` elements inside one arena."""
    work = computation([cast(expr, code)])
    arena = Arena(tile_shape([work.program]), tile)
    parts: list[bytes] = []

    def sink(finished: Finished) -> None:
        parts.append(bytes(finished.content))

    for start in range(0, elements, tile):
        evaluate(work, start, min(tile, elements - start), arena, models.source, sink)
    return b"".join(parts)


CODES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def normal(seed: int, dtype: torch.dtype, elements: int = ELEMENTS) -> Tensor:
    return torch.randn(elements, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def models_for(method: Method, code: str) -> Models:
    return Models([normal(seed, CODES[code]) for seed in range(len(method.edges()))], code)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("op", KERNELS)
def test_bits_do_not_depend_on_the_tile(op: str, code: str) -> None:
    method = example(op)[1]
    models = models_for(method, code)
    expr = expression(method, models.reads)
    whole = tiled(expr, models, ELEMENTS, ELEMENTS, code)
    assert len(whole) == ELEMENTS * CODES[code].itemsize
    for tile in (1, 7, 512, 4095):
        assert tiled(expr, models, tile, ELEMENTS, code) == whole, f"tiles of {tile}"


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

    def __init__(self, tile: Callable[..., None], parameters: Mapping[str, Any], operands: Sequence[Tensor]) -> None:
        self.out = torch.full_like(operands[0], torch.nan)
        self.spare = [torch.full_like(self.out, torch.nan) for _ in range(32)]
        self.taken = 0
        kernel = SimpleNamespace(ops=torch, out=self.out, p=SimpleNamespace(**parameters), scratch=self.scratch)
        self.allocations = Allocations([self.out, *self.spare, *operands])
        with self.allocations:
            tile(kernel, *operands)

    def scratch(self) -> Tensor:
        self.taken += 1
        return self.spare[self.taken - 1]


def kernels_of(op: str) -> list[tuple[str, int, dict[str, Any]]]:
    """(op, operand count, parameters) of every kernel that the example expands to."""
    method = example(op)[1]
    expr = expression(method, models_for(method, "F32").reads)
    return [(each.kernel, len(each.operands), dict(each.parameters)) for each in walk(expr) if isinstance(each, Apply)]


@pytest.mark.parametrize("op", KERNELS)
def test_a_kernel_keeps_its_inputs_and_its_promise_of_memory(op: str) -> None:
    for kernel, count, parameters in kernels_of(op):
        operands = [normal(seed, torch.float32) for seed in range(count)]
        before = [operand.clone() for operand in operands]
        bench = Bench(methods()[kernel].tile, parameters, operands)
        assert bench.allocations.found == []
        assert bench.taken <= methods()[kernel].scratch
        assert all(torch.equal(one, other) for one, other in zip(operands, before, strict=True))
        assert not bench.out.isnan().any(), "every element of the result is written"


def test_an_allocation_in_a_kernel_is_noticed() -> None:
    def greedy(k: Any, a: Tensor, b: Tensor) -> None:
        k.scratch()
        k.out.copy_(a * b)

    bench = Bench(greedy, {}, [normal(0, torch.float32), normal(1, torch.float32)])
    assert bench.allocations.found == [f"aten.mul.Tensor made [{ELEMENTS}]"]
    assert bench.taken == 1


def _filled(value: float, count: int) -> list[Tensor]:
    return [torch.full((64,), value) for _ in range(count)]


FINITE: Mapping[str, Callable[[int], list[Tensor]]] = {
    "zeros": lambda count: _filled(0.0, count),
    "identical": lambda count: [normal(0, torch.float32, 64)] * count,
    "opposite": lambda count: [normal(0, torch.float32, 64) * (-1) ** n for n in range(count)],
    "one is zero": lambda count: [normal(0, torch.float32, 64), *_filled(0.0, count - 1)],
    "all but one are zero": lambda count: [*_filled(0.0, count - 1), normal(0, torch.float32, 64)],
    "smaller than a normal float32": lambda count: [normal(n, torch.float32, 64) * 1e-40 for n in range(count)],
    "squares vanish": lambda count: [normal(n, torch.float32, 64) * 1e-30 for n in range(count)],
    "squares overflow": lambda count: [normal(n, torch.float32, 64) * 1e30 for n in range(count)],
    "the largest of one sign": lambda count: _filled(1e30, count),
}


@pytest.mark.parametrize("case", FINITE)
@pytest.mark.parametrize("op", KERNELS)
def test_finite_numbers_stay_finite(op: str, case: str) -> None:
    method = example(op)[1]
    models = Models(FINITE[case](len(method.edges())), "F32")
    raw = tiled(expression(method, models.reads), models, 64, 64, "F32")
    assert torch.frombuffer(bytearray(raw), dtype=torch.float32).isfinite().all()


@pytest.mark.parametrize("op", KERNELS)
def test_one_model_in_every_place_is_fine(op: str) -> None:
    method = example(op)[1]
    models = Models([normal(0, torch.float32)], "F32")
    expr = expression(method, models.reads * len(method.edges()))
    raw = tiled(expr, models, 512, ELEMENTS, "F32")
    assert reads(expr) == tuple(models.reads)
    assert torch.frombuffer(bytearray(raw), dtype=torch.float32).isfinite().all()


Reference = Callable[..., Tensor]


def _clamp(x: Tensor, *within: Tensor) -> Tensor:
    stacked = torch.stack(within)
    return torch.minimum(torch.maximum(x, stacked.amin(0)), stacked.amax(0))


def _magmax(*deltas: Tensor, **_: float) -> Tensor:
    stacked = torch.stack(deltas)
    return stacked.gather(0, stacked.abs().argmax(0, keepdim=True))[0]


def _elect(*deltas: Tensor, **numbers: float) -> Tensor:
    weights = torch.tensor([numbers[f"inputs.{n}.weight"] for n in range(len(deltas))], dtype=torch.float64)[:, None]
    weighted = weights * torch.stack(deltas)
    sign = torch.where(weighted.sum(0) >= 0, 1.0, -1.0)
    agrees = (weighted.sign() == sign).double()
    return (weighted * agrees).sum(0) / (weights * agrees).sum(0)


def _nearswap(a: Tensor, b: Tensor, **numbers: float) -> Tensor:
    share = (numbers["t"] / (a - b).abs()).clamp(0, 1)
    return share * b + (1 - share) * a


REFERENCES: dict[str, Reference] = {"clamp": _clamp, "elect": _elect, "magmax": _magmax, "nearswap": _nearswap}
"""By op: the docstring's formula on whole float64 tensors. Operands follow the edges; numbers come by keyword."""

TOLERANCE = {"clamp": 0.0, "elect": 3e-7, "magmax": 0.0, "nearswap": 3e-7}
"""By op: how far float32 may be from the reference, as a share of the largest element."""


def test_every_kernel_has_a_reference() -> None:
    own = {op for op in KERNELS if methods()[op].__module__.startswith("mergegraph.")}
    assert own == set(REFERENCES) == set(TOLERANCE)


@pytest.mark.parametrize("op", REFERENCES)
@pytest.mark.parametrize("seed", [0, 100, 200])
def test_a_kernel_computes_its_formula(op: str, seed: int) -> None:
    method = example(op)[1]
    operands = [normal(seed + n, torch.float32) for n in range(len(method.edges()))]
    models = Models(operands, "F32")
    numbers = {".".join(map(str, path)): float(value) for path, value in method.coefficients()}
    wanted = REFERENCES[op](*(operand.double() for operand in operands), **numbers)
    raw = tiled(expression(method, models.reads), models, 1009, ELEMENTS, "F32")
    computed = torch.frombuffer(bytearray(raw), dtype=torch.float32).double()
    assert (computed - wanted).abs().max() <= TOLERANCE[op] * wanted.abs().max()


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


@pytest.mark.parametrize("op", KERNELS)
def test_kernels_use_no_operator_whose_bits_depend_on_the_tile(op: str) -> None:
    cls = methods()[op]
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


@pytest.mark.parametrize("op", KERNELS)
def test_kernels_take_torch_from_what_they_are_given(op: str) -> None:
    """`k.ops` is torch: a module of methods imports it for types only."""
    module = inspect.getmodule(methods()[op])
    assert not any(getattr(value, "__name__", "") == "torch" for value in vars(module).values())
