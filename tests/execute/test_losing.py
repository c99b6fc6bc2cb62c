"""What trims, elections and dropping take from each source, against plain float64 on whole tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mergegraph.execute.losing import Running
from mergegraph.execute.run import Options, run
from mergegraph.execute.surveying import survey_plan
from mergegraph.plan.outputs import Stats
from mergegraph.stats.csv_file import to_csv
from mergegraph.stats.files import from_json, load, to_json
from mergegraph.stats.metrics import METRICS, Missing, Subject, subjects
from mergegraph.stats.record import Mass, Record
from mergegraph.stats.summary import whole
from tests.execute.test_surveying import planned, write_models
from tests.tiny_models import write_model


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_models(tmp_path, torch.float32)
    return tmp_path


def surveyed(folder: Path, nodes: str, **options: object) -> Record:
    (record,) = survey_plan(planned(folder, nodes, Stats(writes=False), **options)).records  # type: ignore[arg-type]
    return record


def changes(folder: Path, name: str) -> list[Tensor]:
    base, *tuned = (load_file(folder / model / "model.safetensors")[name].double() for model in ("base", "a", "b"))
    return [each - base for each in tuned]


def mass(x: Tensor) -> float:
    return float(x.abs().sum())


def largest(x: Tensor, density: float) -> Tensor:
    kept = max(1, int(density * x.numel()))
    places = x.abs().view(-1).topk(kept).indices
    return torch.zeros_like(x).view(-1).scatter(0, places, x.view(-1)[places]).view(x.shape)


def elected(deltas: Sequence[Tensor], votes: Sequence[float], *, by_count: bool = False) -> list[Tensor]:
    """Of each delta what has the sign that wins, as its vote sees it."""
    total = torch.stack([vote * (d.sign() if by_count else d) for vote, d in zip(votes, deltas, strict=True)]).sum(0)
    sign = torch.where(total >= 0, 1.0, -1.0)
    return [torch.where(d.sign() * math.copysign(1, v) == sign, d, 0.0) for v, d in zip(votes, deltas, strict=True)]


def ties(
    deltas: Sequence[Tensor], scale: Callable[[Tensor, Tensor, float], float] = lambda x, kept, density: 1.0
) -> tuple[list[Tensor], list[Tensor]]:
    """What is trimmed, as it is, and what of it is elected, where `scale` says how strongly it votes."""
    kept = [largest(x, density) for x, density in zip(deltas, (0.3, 0.6), strict=True)]
    scales = [scale(x, y, density) for x, y, density in zip(deltas, kept, (0.3, 0.6), strict=True)]
    return kept, elected(kept, [vote * by for vote, by in zip((1.0, 0.5), scales, strict=True)])


INPUTS = "base: base, inputs: [{from: a, density: 0.3}, {from: b, weight: 0.5}]"
TAKEN: list[tuple[str, Callable[[Sequence[Tensor]], tuple[Sequence[Tensor] | None, Sequence[Tensor] | None]], str]] = [
    (f"d: {{op: ties, {INPUTS}, density: 0.6}}", ties, "both, with a density of its own"),
    (f"d: {{op: ties, {INPUTS}, density: 0.6, rescale: expected}}",
     lambda d: ties(d, lambda x, kept, density: 1 / density), "before what is kept is scaled up"),
    (f"d: {{op: ties, {INPUTS}, density: 0.6, rescale: l1}}",
     lambda d: ties(d, lambda x, kept, density: mass(x) / mass(kept)), "before the sum is restored"),
    ("d: {op: elect, base: base, inputs: [a, {from: b, weight: -0.7}], combine: sum}",
     lambda d: (None, elected(d, (1.0, -0.7))), "a vote against"),
    ("d: {op: elect, base: base, inputs: [a, {from: b, weight: 3}], sign: count, vote: unweighted}",
     lambda d: (None, elected(d, (1.0, 1.0), by_count=True)), "heads are counted"),
    ("d: {op: sce, base: base, inputs: [a, b]}",
     lambda d: (None, elected(d, (1.0, 1.0))), "the election of another method"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "plain"), [case[:2] for case in TAKEN], ids=[case[2] for case in TAKEN])
def test_mass_that_is_lost_is_that_of_plain_float64(models: Path, node: str, plain: Callable[..., object]) -> None:
    if "ties" in node:
        write_models(models, torch.float64)  # no two differences are of one size, so nothing is drawn at a threshold
    record = surveyed(models, f"{node}\nmerged: base + d")
    looked = [tensor for tensor in record.tensors if any(change.largest for change in tensor.changes)]
    assert len(looked) > 15
    for tensor in looked:
        deltas = changes(models, tensor.name)
        trimmed, elected_of = plain(deltas)  # type: ignore[misc]
        for i, each in enumerate(tensor.thinned):
            assert each.drop is None
            assert_mass(each.trim, None if trimmed is None else (mass(deltas[i]), mass(trimmed[i])))
            assert each.election is not None
            kept = mass(elected_of[i]) / mass((trimmed or deltas)[i])
            assert each.election.after / each.election.before == pytest.approx(kept, rel=2e-6)


def assert_mass(found: Mass | None, wanted: tuple[float, float] | None) -> None:
    if wanted is None:
        assert found is None
    else:
        assert found is not None
        assert (found.before, found.after) == pytest.approx(wanted, rel=2e-6)


def test_a_threshold_over_the_model_is_the_recipes(models: Path) -> None:
    record = surveyed(models, "t: {op: trim, input: a, base: base, density: 0.1, scope: model}\nmerged: base + t")
    every = {tensor.name: changes(models, tensor.name)[0] for tensor in record.tensors if not tensor.skipped}
    flat = torch.cat([x.view(-1) for x in every.values()])
    cut = float(flat.abs().topk(int(0.1 * flat.numel())).values[-1])
    for tensor in record.tensors:
        if not tensor.skipped:
            (only,) = tensor.thinned
            x = every[tensor.name]
            assert_mass(only.trim, (mass(x), mass(x[x.abs() >= cut])))


def test_a_large_tensor_is_summed_in_part(tmp_path: Path) -> None:
    """40 runs and a short one: every second one is summed, and with `every_element` all."""
    torch.manual_seed(5)
    base = torch.randn(40 * 64 + 5, 1_024)
    for name, size in (("base", 0.0), ("a", 0.1), ("b", 0.2)):
        write_model(tmp_path / name, {"w.weight": base + size * torch.randn(base.shape)})
    plan = planned(tmp_path, f"{TAKEN[0][0]}\nmerged: base + d", Stats(writes=False))
    ((part,), (every,)) = (survey_plan(plan, every_element=full).records[0].tensors for full in (False, True))
    deltas = changes(tmp_path, "w.weight")
    trimmed, _ = ties(deltas)
    for i, (some, all_of_it) in enumerate(zip(part.thinned, every.thinned, strict=True)):
        assert_mass(all_of_it.trim, (mass(deltas[i]), mass(trimmed[i])))
        assert some != all_of_it
        for one, other in ((some.trim, all_of_it.trim), (some.election, all_of_it.election)):
            assert one is not None
            assert other is not None
            assert one.before == pytest.approx(other.before, rel=5e-3)
            assert one.after / one.before == pytest.approx(other.after / other.before, abs=2e-3)


def test_many_tensors_add_up(models: Path) -> None:
    record = surveyed(models, f"{TAKEN[0][0]}\nmerged: base + d")
    total, metric = whole(record), METRICS["trim_loss"]
    assert total is not None
    for subject in subjects(metric, record):
        parts = [tensor.thinned[subject.i].trim for tensor in record.tensors if tensor.thinned]
        before, after = (math.fsum(getattr(part, name) for part in parts) for name in ("before", "after"))
        assert metric.value(total, subject) == pytest.approx(1 - after / before)


DROPS = [
    ("", 1.0, (1 - 0.3) / 0.3, "divided by the density: variance alone"),
    (", rescale: none", 0.3, 1 - 0.3, "too short as well"),
    (", rescale: l1", 1.0, (1 - 0.3) / 0.3, "the sum is restored, which divides by the density"),
]


@pytest.mark.parametrize(("option", "mean", "error"), [case[:3] for case in DROPS], ids=[case[3] for case in DROPS])
def test_the_forecast_of_dropping_holds(models: Path, option: str, mean: float, error: float) -> None:
    """Against the deltas that a run drops, over all tensors: 400,000 draws."""
    node = f"d: {{op: dare, input: a, base: base, density: 0.3{option}}}\nmerged: base + d"
    run(planned(models, node, Stats(), "out"), Options(sync=False))
    record = load(models / "out")
    total, source = whole(record), Subject("a", 0)
    assert total is not None
    assert METRICS["drop_variance"].value(total, source) == pytest.approx((1 - 0.3) / 0.3)
    forecast = METRICS["drop_error"].value(total, source)
    assert forecast == pytest.approx(math.sqrt(error))
    made, base = (load_file(models / name / "model.safetensors") for name in ("out", "base"))
    names = [tensor.name for tensor in record.tensors if tensor.thinned]
    pairs = [(changes(models, name)[0], made[name].double() - base[name].double()) for name in names]
    energy = sum(float(x.square().sum()) for x, _ in pairs)
    assert math.sqrt(sum(float((y - x).square().sum()) for x, y in pairs) / energy) == pytest.approx(forecast, rel=0.02)
    assert sum(float((x * y).sum()) for x, y in pairs) / energy == pytest.approx(mean, rel=0.02)


def test_what_is_not_taken_has_no_value_and_says_why(models: Path) -> None:
    trimmed = surveyed(models, "t: {op: trim, input: a, base: base, density: 0.5}\nmerged: base + t + 0.1*(b - base)")
    first = next(tensor for tensor in trimmed.tensors if tensor.thinned)
    reasons = {
        name: METRICS[name].value(first, Subject("b", 1)) for name in ("trim_loss", "election_loss", "drop_error")
    }
    assert [reasons[name].reason for name in reasons if isinstance(reasons[name], Missing)] == [
        "the recipe does not trim it", "no election has it among its inputs", "no one step drops elements of it",
    ]  # fmt: skip
    plain = surveyed(models, "merged: base + 0.6*(a - base)")
    assert not any(tensor.thinned for tensor in plain.tensors)
    assert not subjects(METRICS["trim_loss"], plain)


def test_it_is_written_and_read_again(models: Path) -> None:
    record = surveyed(models, f"{TAKEN[0][0]}\nmerged: base + d")
    assert from_json(to_json(record), "f") == record
    assert "a.trim.before,a.trim.after,a.election.before" in to_csv(record).split("\n")[0]


def test_a_sum_that_is_not_finite_leaves_the_tensor_out(models: Path) -> None:
    tuned = write_models(models, torch.float32)
    tuned["lm_head.weight"][3, 2] = torch.inf
    write_model(models / "b", tuned)
    record = surveyed(models, f"{TAKEN[0][0]}\nmerged: base + d")
    without = [tensor.name for tensor in record.tensors if not tensor.skipped and not tensor.thinned]
    assert without == ["lm_head.weight"]


def test_a_running_sum_is_exact_in_any_order() -> None:
    random = Random(7)
    numbers = [random.uniform(-1, 1) * 2.0 ** random.randrange(-60, 60) for _ in range(3_000)]
    exact = float(sum(map(Fraction, numbers)))
    for _ in range(3):
        random.shuffle(numbers)
        running = Running("sum")
        for first in range(0, len(numbers), 7):
            running.add(numbers[first : first + 7])
        assert running.value() == exact
    running.add([math.inf])
    assert running.value() is None
