"""Programs that are computed in pieces: what runs compiled gives the bits of Python's run of the same text, of whole
tensors, and of any tile; what is not finite is counted."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mergegraph.execute import script
from mergegraph.execute.executors.for_loop import for_loop
from mergegraph.execute.noise import draw_equal, fill_uniform
from mergegraph.execute.recording import Name, Recorder
from mergegraph.execute.run import Options, run
from mergegraph.execute.script import Buffers, Script, compiled, interpreted, runner
from mergegraph.methods.registry import kernels
from mergegraph.plan.memory import TEXTS_KEPT
from mergegraph.plan.plan import Plan
from mergegraph.plan.steps import Call, Store
from tests.plan.small_plans import planned
from tests.tiny_models import write_model

ELEMENTS = 3 * 65_536 + 777
"""Three blocks of random numbers and a part of one."""
NODES = {
    "soup": "m: {op: soup, inputs: [a, b]}",
    "differences": "m: base + 0.6*(a - base) - 0.7*(b - base)",
    "slerp": "m: {op: slerp, a: a, b: b, t: 0.3}",
    "ties": "t: {op: ties, base: base, inputs: [a, b], density: 0.5}\nm: base + t",
    "ties, counted, summed": "t: {op: ties, base: base, inputs: [a, b], density: 0.3, sign: count, combine: sum}\n"
    "m: base + t",
    "dare": "t: {op: dare, base: base, input: a, density: 0.5}\nm: base + t",
    "dare, l1": "t: {op: dare, base: base, input: a, density: 0.5, rescale: l1}\nm: base + t",
    "consensus": "t: {op: consensus, base: base, inputs: [a, b]}\nm: base + t",
    "magmax": "t: {op: magmax, base: base, inputs: [a, b]}\nm: base + t",
    "nearswap": "m: {op: nearswap, a: a, b: b, t: 0.001}",
    "outliers": "t: {op: outliers, base: base, input: a, gamma: 0.01, density: 0.4}\nm: base + t",
    "sce": "t: {op: sce, base: base, inputs: [a, b], select_topk: 0.5}\nm: base + t",
    "ram": "t: {op: ram, base: base, inputs: [a, b]}\nm: base + t",
    "multislerp": "m: {op: multislerp, inputs: [a, b]}",
    "trim of dare": "d: {op: dare, base: base, input: a, density: 0.5}\nt: {op: trim, input: d, density: 0.3}\n"
    "m: base + t",
}  # fmt: skip


def models(folder: Path, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(ELEMENTS, generator=generator)
    for name in ("base", "a", "b"):
        tuned = base + (0.1 * torch.randn(ELEMENTS, generator=generator) if name != "base" else 0)
        write_model(folder / name, {"w": tuned.to(dtype), "small": tuned[:5].clone().to(dtype)})


def plan_of(folder: Path, nodes: str, output: str, budget_bytes: int = 1 << 28) -> Plan:
    return planned(
        folder, f"{nodes}\nout: {{op: save, input: m, path: {output}}}", budget_bytes=budget_bytes, workers=2
    )


def content(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("name", NODES)
def test_pieces_give_the_bits_of_whole_tensors(
    tmp_path: Path, name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    models(tmp_path, dtype)
    plans = {way: plan_of(tmp_path, NODES[name], way) for way in ("compiled", "read", "reference")}
    assert all(group.computation.program.in_pieces for group in plans["compiled"].groups)
    run(plans["compiled"], Options(sync=False))
    run(plans["reference"], Options(sync=False, executor=for_loop))
    monkeypatch.setattr(script, "_functions", OrderedDict())
    monkeypatch.setattr(script, "compiled", interpreted)
    run(plans["read"], Options(sync=False))
    assert content(tmp_path / "compiled") == content(tmp_path / "reference") == content(tmp_path / "read")


def test_every_kernel_in_pieces_is_written_down() -> None:
    """Its operations are those that can be, whatever its options: the conformance tests run it."""
    marked = {name for name, kernel in kernels().items() if kernel.in_pieces}
    assert {"slerp", "winners", "keep_largest", "dare", "restore_sum"} <= marked
    assert all(kernels()[name].granularity == "element" for name in marked)


def buffers(values: torch.Tensor, out: torch.dtype, slots: int) -> Buffers:
    made = [torch.zeros(65_536) for _ in range(slots)]
    made[0][: values.numel()] = values
    return Buffers(made, [x.view(torch.int32) for x in made], [], [torch.zeros(values.numel(), dtype=out)], [], [])


@pytest.mark.parametrize(
    ("values", "out", "expected"),
    [
        ([1.0, -2.0, 0.0], torch.bfloat16, [0, 0]),
        ([1.0, math.nan, math.inf], torch.bfloat16, [2, 0]),
        ([3.4e38, 3.389e38, -3.4e38], torch.bfloat16, [0, 2]),
        ([65_520.0, 65_519.0, math.inf, 1.0], torch.float16, [1, 1]),
        ([3e38, 3e38, 3e38], torch.float32, [0, 0]),  # only their sum is infinite
    ],
)
def test_what_is_not_finite_or_does_not_fit_is_counted(
    values: list[float], out: torch.dtype, expected: list[int]
) -> None:
    recorder = Recorder(0, len(values), [], [], 1)
    recorder.record(Store(0, 0, {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}[out]))
    given = buffers(torch.tensor(values), out, 1)
    counts, *_ = runner(recorder.script, given, 0, 65_536)(0, len(values))
    assert counts == expected
    assert torch.equal(given.out[0].isnan(), torch.tensor(values).isnan())


@pytest.mark.parametrize("start", [0, 65_536, 131_072 + 5, 65_535])
@pytest.mark.parametrize("way", [compiled, interpreted])
def test_random_numbers_are_those_of_whole_tiles(way: Callable[[str], object], start: int) -> None:
    """Also where a piece begins inside a block."""
    count, noise = 1_000, 0xFEDCBA9876543210
    call_step = Call(1, "dare", (0,), (("density", 0.5), ("scale", 1.0)), (2, 3), (), 0)
    recorder = Recorder(start, count, [noise], [], 4)
    recorder.record(call_step)
    ones = torch.ones(count)
    given = buffers(ones, torch.float32, 5)
    for first, last in ((0, 400), (400, count)):
        text: Script = recorder.script
        way(text.text)(  # type: ignore[operator]
            list(given.slots), list(given.words), [], [], [], [], script._mixed(),
            [torch.tensor(x) for x in text.scalars],
            text.floats, text.integers, text.keys, [], text.tensors, start, first, last, 65_536,
        )  # fmt: skip
        uniform = torch.empty(last - first)
        fill_uniform(uniform, noise, start + first, torch.empty(last - first))
        kept = (65_536 - (start + first) % 65_536) if (start + first) // 65_536 != (start + last - 1) // 65_536 else 0
        shown = given.slots[1][: last - first - kept]
        assert torch.equal(shown, (uniform < 0.5).float()[kept:])


def test_elements_at_a_threshold_are_drawn_as_in_whole_tiles() -> None:
    values = torch.tensor([2.0, -2.0, 1.0, 3.0, math.inf, -0.0] * 5_000)
    expected = torch.nn.functional.hardshrink(values, 2.0)
    draw_equal(expected, values, 2.0, 0.5, 77, 0)

    class Found:
        value, share_of_equal = 2.0, 0.5

    recorder = Recorder(0, values.numel(), [77], [Found], 3)
    recorder.record(Call(1, "keep_largest", (0,), (("scale", 1.0),), (2,), (0,), 0))
    given = buffers(values, torch.float32, 4)
    runner(recorder.script, given, 0, 65_536)(0, values.numel())
    assert torch.equal(given.slots[1][: values.numel()].view(torch.int32), expected.view(torch.int32))
    assert 0 < int((expected.abs() == 2).sum()) < 10_000


def test_equal_programs_have_one_text_whatever_the_tile_and_the_numbers() -> None:
    texts: set[str] = set()
    for start, count, share in ((0, 100, 0.5), (65_536, 300_000, 0.0), (5, 1_000_000, 0.9)):

        class Found:
            value, share_of_equal = 2.0 + share, share

        recorder = Recorder(start, count, [77, 78], [Found, Found], 5)
        for slot, noise in ((1, 0), (3, 1)):
            recorder.record(Call(slot, "keep_largest", (0,), (("scale", 1.0),), (2,), (noise,), noise))
        texts.add(recorder.script.text)
    assert len(texts) == 1


def test_texts_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "_functions", OrderedDict())
    given = buffers(torch.ones(3), torch.float32, 1)
    for number in range(TEXTS_KEPT + 5):
        text = Script(["s0.zero_()"] * (number + 1), {"s0"})
        runner(text, given, 0, 3)(0, 3)
    assert len(script._functions) == TEXTS_KEPT


@pytest.mark.parametrize(
    "misuse", [lambda tile: tile == tile, lambda tile: tile != 0, bool, lambda tile: tile.item(), lambda tile: tile * 2]
)
def test_what_cannot_be_written_down_is_refused(misuse: Callable[[Name], object]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        misuse(Name(Script(), 0))


def test_a_sample_over_random_masks_changes_no_bit(tmp_path: Path) -> None:
    """A tensor that is large enough to be sampled, in runs that begin inside blocks of random numbers."""
    generator = torch.Generator().manual_seed(5)
    base = torch.randn(1_300_001, generator=generator)
    write_model(tmp_path / "base", {"w": base.bfloat16()})
    write_model(tmp_path / "a", {"w": (base + 0.1 * torch.randn(1_300_001, generator=generator)).bfloat16()})
    plans = [plan_of(tmp_path, NODES["trim of dare"], way) for way in ("tiles", "whole")]
    run(plans[0], Options(sync=False))
    run(plans[1], Options(sync=False, executor=for_loop))
    assert content(tmp_path / "tiles") == content(tmp_path / "whole")
