"""The threads give the reference's bytes for every tiling, and both stay within the stated error of exact sums."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from mergegraph.dtypes import BY_CODE
from mergegraph.execute.arena import Arena
from mergegraph.execute.evaluate import evaluate
from mergegraph.execute.executors.for_loop import for_loop, whole_tensor
from mergegraph.execute.finished import Finished
from mergegraph.execute.views import TORCH_DTYPES
from mergegraph.expr import Expr, Read, cast, linear, read
from mergegraph.plan.memory import tile_shape
from mergegraph.plan.program import computation
from mergegraph.plan.rewrite import simplify
from tests.execute.merging import BLOCK, merged, planned, tiled, tree
from tests.tiny_models import write_model

Tensors = Mapping[str, torch.Tensor]

SHAPES: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
    "embed_tokens.weight": ((257, 311), torch.bfloat16),  # a block and 14,391 elements
    "layers.0.mlp.one_short": ((65_535,), torch.float32),
    "layers.0.mlp.one_block": ((65_536,), torch.float32),
    "layers.0.mlp.one_over": ((65_537,), torch.float16),
    "layers.1.mlp.prime": ((200_003,), torch.float32),  # three blocks and 3,395 elements
    "layers.1.mlp.wide": ((70_001,), torch.float64),
    "layers.1.mlp.scalar": ((), torch.float32),
    "layers.1.mlp.empty": ((0, 8), torch.float32),
    "norm.weight": ((13,), torch.bfloat16),
    "position_ids": ((5,), torch.int64),
    "mask": ((7,), torch.bool),
}


def mixed_tensors(
    seed: int, around: Tensors | None = None, dtype: torch.dtype | None = None
) -> dict[str, torch.Tensor]:
    """Tensors of every size and dtype; `around` makes a relative, `dtype` stores its floating tensors so."""
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, torch.Tensor] = {}
    for name, (shape, stored) in SHAPES.items():
        if not stored.is_floating_point:
            made[name] = torch.arange(math.prod(shape)).to(stored)
            continue
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        value = noise if around is None else around[name].double() + 0.05 * noise
        made[name] = value.to(dtype or stored)
    return made


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base` and three relatives, one of them all bfloat16, one all float64."""
    folder = tmp_path_factory.mktemp("models")
    base = mixed_tensors(2)
    write_model(folder / "base", base, shards=3)
    write_model(folder / "a", mixed_tensors(3, base))
    write_model(folder / "b", mixed_tensors(5, base))
    write_model(folder / "half", mixed_tensors(7, base, torch.bfloat16))
    write_model(folder / "double", mixed_tensors(11, base, torch.float64))
    return folder


@pytest.fixture
def models(stored: Path) -> Path:
    """The models, and no output of another test."""
    shutil.rmtree(stored / "out", ignore_errors=True)
    return stored


LOADS = """
base: {op: load, model: base}
a: {op: load, model: a}
b: {op: load, model: b}
half: {op: load, model: half}
double: {op: load, model: double}
"""

RECIPES = {
    "linear": "m: 0.5*base + 0.3*a + 0.2*b\nout: {op: save, input: m, path: out}",
    "the base vanishes": "m: base + 0.5*(a - base) + 0.5*(b - base)\nout: {op: save, input: m, path: out}",
    "nested deltas": "m: base + 0.6*(a - base) - 0.3*(half - base)\nout: {op: save, input: m, path: out}",
    "a chain": "s: 0.5*a + 0.5*b\nm: base + 0.7*(s - base)\nn: m + 0.1*(a - b)\nout: {op: save, input: n, path: out}",
    "mixed dtypes": "m: 0.25*base + 0.25*half + 0.5*double\nout: {op: save, input: m, path: out}",
    "a kernel": (
        "s: base + 1.7*(a - base)\nc: {op: clamp, input: s, within: [base, b, half]}\n"
        "out: {op: save, input: c, path: out}"
    ),
    "selected": (
        "s: base + 0.4*(a - base)\n"
        "m: {op: select, cases: [{layers: '0:1', from: s}, {kind: embedding, from: b}], otherwise: base}\n"
        "out: {op: save, input: m, path: out}"
    ),
    "stacked": (
        "s: 0.5*a + 0.5*b\nm: {op: stack, slices: [{from: s, layers: '0:1'}, {from: base, layers: '1:2'}]}\n"
        "out: {op: save, input: m, path: out}"
    ),
    "a delta": "d: 0.5*(a - base)\nout: {op: save, input: d, path: out, format: delta}",
    "several saves in shards": (
        "m: base + 0.6*(a - base)\nn: base - 0.4*(a - base) + 0.1*(b - base)\n"
        "x: {op: save, input: m, path: out/x, max_shard_size: 300KB}\n"
        "y: {op: save, input: n, path: out/y, dtype: float16}\n"
        "z: {op: save, input: m, path: out/z, dtype: float8_e4m3fn}\n"
        "w: {op: save, input: base, path: out/w}"
    ),
}  # fmt: skip


@pytest.mark.parametrize("nodes", RECIPES.values(), ids=RECIPES)
def test_threads_give_the_reference_s_files_for_every_tiling(nodes: str, models: Path) -> None:
    plan = planned(models, LOADS + nodes)
    merged(plan, executor=for_loop, overwrite=True)
    reference = tree(models / "out")
    assert any(name.endswith(".safetensors") for name in reference)
    for workers, tile in ((1, BLOCK), (2, BLOCK), (4, 2 * BLOCK), (2, 4 * BLOCK)):
        merged(tiled(plan, workers, tile), overwrite=True)
        assert tree(models / "out") == reference, f"{workers} workers, tiles of {tile:,}"


def test_a_small_budget_shrinks_tiles_and_changes_no_byte(models: Path) -> None:
    nodes = LOADS + RECIPES["nested deltas"]
    roomy, tight = planned(models, nodes), planned(models, nodes, budget_bytes=8 << 20)
    assert tight.projection.tile_elements < roomy.projection.tile_elements
    merged(roomy, overwrite=True)
    reference = tree(models / "out")
    merged(tight, overwrite=True)
    assert tree(models / "out") == reference


def test_saves_in_other_dtypes_are_what_runs_of_their_own_give(models: Path) -> None:
    """Each is rounded once from the computed values, not from the other save."""
    m = "m: base + 0.6*(a - base) + 0.7*(b - base)\n"
    save = "{name}: {{op: save, input: m, path: out/{name}, dtype: {dtype}}}\n"
    dtypes = {"x": "float32", "y": "bfloat16", "z": "float16"}
    together = planned(models, LOADS + m + "".join(save.format(name=name, dtype=d) for name, d in dtypes.items()))
    merged(together, overwrite=True)
    joint = {name: (models / "out" / name / "model.safetensors").read_bytes() for name in dtypes}
    for name, dtype in dtypes.items():
        merged(planned(models, LOADS + m + save.format(name=name, dtype=dtype)), overwrite=True)
        assert (models / "out" / name / "model.safetensors").read_bytes() == joint[name]


def test_frozen_tensors_come_out_as_the_base_has_them(tmp_path: Path) -> None:
    """Where every fine-tune equals the base the differences are exactly zero, whatever the coefficients."""
    base = mixed_tensors(2)
    write_model(tmp_path / "base", base)
    tuned = {**mixed_tensors(3, base), "layers.1.mlp.prime": base["layers.1.mlp.prime"]}
    tuned |= {"norm.weight": base["norm.weight"], "layers.0.mlp.one_over": base["layers.0.mlp.one_over"]}
    write_model(tmp_path / "a", tuned)
    write_model(tmp_path / "b", {**tuned, "layers.1.mlp.wide": base["layers.1.mlp.wide"]})
    nodes = """
base: {op: load, model: base}
a: {op: load, model: a}
b: {op: load, model: b}
m: base + 0.37*(a - base) - 1.9*(b - base)
out: {op: save, input: m, path: out}"""
    merged(planned(tmp_path, nodes))
    output = load_file(tmp_path / "out" / "model.safetensors")
    for name in ("layers.1.mlp.prime", "norm.weight", "layers.0.mlp.one_over"):
        assert output[name].view(torch.uint8).equal(base[name].view(torch.uint8)), name
    assert not output["layers.1.mlp.wide"].equal(base["layers.1.mlp.wide"])


@pytest.mark.parametrize(
    "m",
    [
        "m: base + 0.5*(a - base) + 0*(bad - base)",
        "m: {op: soup, inputs: [base, a, {from: bad, weight: 0}]}",
        "d: 0.5*(bad - base)\nz: {op: scale, input: d, by: 0}\nm: {op: sum, inputs: [base, z]}",
        "m: base + (bad - base) - (bad - base) + 0.5*(a - base)",  # cancels
    ],
)
def test_an_input_with_coefficient_0_is_never_read(m: str, tmp_path: Path) -> None:
    base = mixed_tensors(2)
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "a", mixed_tensors(3, base))
    poisoned = {name: t * math.nan if t.is_floating_point() else t for name, t in base.items()}
    write_model(tmp_path / "bad", poisoned)
    loads = "".join(f"{name}: {{op: load, model: {name}}}\n" for name in ("base", "a", "bad"))
    merged(planned(tmp_path, f"{loads}{m}\nout: {{op: save, input: m, path: out}}"))
    output = load_file(tmp_path / "out" / "model.safetensors")
    assert all(t.isfinite().all() for t in output.values() if t.is_floating_point())


class Stored:
    """Vectors in memory as the source of an evaluation."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def add(self, values: torch.Tensor) -> Read:
        code = next(code for code, dtype in TORCH_DTYPES.items() if dtype == values.dtype)
        path = f"tensor-{len(self.content)}"
        self.content[path] = values.contiguous().view(torch.uint8).numpy().tobytes()
        return read(path, path, code, tuple(values.shape), 0, values.nbytes)

    def __call__(self, path: str, offset: int, buffer: memoryview, /) -> None:
        buffer[:] = self.content[path][offset : offset + buffer.nbytes]


def evaluated(root: Expr, elements: int, source: Stored, tile: int = 16) -> torch.Tensor:
    """The root's elements, computed in tiles; the reference must agree."""
    work = computation([root])
    arena = Arena(tile_shape([work.program]), tile)
    content = bytearray()

    def sink(finished: Finished) -> None:
        content.extend(finished.content)

    for start in range(0, elements, tile):
        evaluate(work, start, min(tile, elements - start), arena, source, sink)
    assert bytes(content) == bytes(whole_tensor(root, (elements,), source).content)
    return torch.frombuffer(content, dtype=TORCH_DTYPES[_dtype(root)])


def _dtype(root: Expr) -> str:
    return root.dtype  # type: ignore[union-attr]


FORMATS = {"F64": (53, -1022), "F32": (24, -126), "F16": (11, -14), "BF16": (8, -126)}
"""Bits of the significand with the hidden one, and the smallest exponent of a normal number."""


def ulp(value: Fraction, code: str) -> Fraction:
    """The spacing of the dtype's numbers at `value`."""
    bits, smallest = FORMATS[code]
    exponent = math.frexp(float(value))[1] - 1 if value else smallest
    return Fraction(2) ** (max(exponent, smallest) - bits + 1)


def exact(values: torch.Tensor) -> list[Fraction]:
    return [Fraction(value) for value in values.double().tolist()]


terms = st.tuples(
    st.floats(-4, 4, allow_subnormal=False).map(lambda x: Fraction(repr(round(x, 6)))),
    st.sampled_from(list(FORMATS)),
    st.integers(0, 2**31),
    st.integers(-12, 6),
)


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(st.lists(terms, min_size=1, max_size=6), st.sampled_from(list(FORMATS)))
def test_a_sum_is_within_the_stated_error(parts: list[tuple[Fraction, str, int, int]], out: str) -> None:
    """|y - ref| <= 1/2 ulp_out(ref) + (k+1) 2^-23 sum |c_i x_i|, the reference in exact fractions."""
    elements, source = 37, Stored()
    vectors: list[list[Fraction]] = []
    operands: list[tuple[Fraction, Expr]] = []
    for coefficient, code, seed, exponent in parts:
        generator = torch.Generator().manual_seed(seed)
        values = (torch.randn(elements, generator=generator, dtype=torch.float64) * 2.0**exponent).to(
            TORCH_DTYPES[code]
        )
        vectors.append([coefficient * x for x in exact(values)])
        operands.append((coefficient, source.add(values)))
    root = cast(simplify(linear(operands, "weights")), out)
    assert BY_CODE[out].is_float
    y = exact(evaluated(root, elements, source))
    for index in range(elements):
        products = [vector[index] for vector in vectors]
        ref, size = sum(products, Fraction(0)), sum(map(abs, products))
        bound = ulp(ref, out) / 2 + (len(parts) + 1) * Fraction(1, 2**23) * size
        assert abs(y[index] - ref) <= bound, (float(y[index]), float(ref))


def test_half_precision_is_rounded_once_at_the_end() -> None:
    """`base + 0.6 (a - base) + 0.7 (b - base)` in bfloat16: rounding each step would give other numbers."""
    generator = torch.Generator().manual_seed(13)
    base = torch.randn(4_099, generator=generator).bfloat16()
    a, b = ((base.float() + 0.05 * torch.randn(4_099, generator=generator)).bfloat16() for _ in range(2))
    source = Stored()
    x, y, z = (source.add(values) for values in (base, a, b))
    one, minus = Fraction(1), Fraction(-1)
    differences = [linear([(one, tuned), (minus, x)], "delta") for tuned in (y, z)]
    root = cast(
        linear([(one, x), (Fraction("0.6"), differences[0]), (Fraction("0.7"), differences[1])], "weights"), "BF16"
    )
    single, d_a, d_b = base.float(), a.float() - base.float(), b.float() - base.float()
    once = single.add(d_a, alpha=0.6).add(d_b, alpha=0.7).bfloat16()
    stepwise = base + 0.6 * (a - base) + 0.7 * (b - base)
    assert evaluated(root, 4_099, source, tile=4_099).equal(once)
    assert not stepwise.equal(once)


@pytest.mark.parametrize(
    ("value", "out", "nearest"),
    [
        (1 + 2**-8 + 2**-40, "BF16", 1 + 2**-7),  # just above the middle; through float32 it would fall on it
        (1 + 2**-8 - 2**-40, "BF16", 1.0),  # just below
        (1 + 2**-8, "BF16", 1.0),  # the middle itself: to even
        (1 + 3 * 2**-8, "BF16", 1 + 2**-6),
        (-1 - 2**-8 - 2**-40, "BF16", -1 - 2**-7),
        (1 + 2**-11 + 2**-40, "F16", 1 + 2**-10),
        (2.0**-25 + 2.0**-60, "F16", 2.0**-24),  # just above half of the smallest subnormal
        (65_519.9999999999, "F16", 65_504.0),  # the largest that does not overflow
        (1 + 2**-4 + 2**-40, "F8_E4M3", 1 + 2**-3),
        (1.0 + 2**-30, "F32", 1.0),
        (0.0, "BF16", 0.0),
        (-0.0, "BF16", -0.0),
    ],
)
def test_float64_is_rounded_to_other_dtypes_in_one_step(value: float, out: str, nearest: float) -> None:
    source = Stored()
    stored = source.add(torch.tensor([value], dtype=torch.float64))
    rounded = evaluated(cast(stored, out), 1, source).double().item()
    assert (rounded, math.copysign(1, rounded)) == (nearest, math.copysign(1, nearest))
