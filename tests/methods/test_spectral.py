"""low_rank, tsv, iso_c, iso_cts, wudi, svc, knots on matrices of every proportion, and what each of them promises."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mergegraph.expr import Apply, linear
from mergegraph.methods.iso_cts import task_share
from mergegraph.methods.low_rank import factors
from mergegraph.methods.registry import kernels
from mergegraph.walking import walk
from tests.methods.bench import Models, expression, normal
from tests.methods.outcome import node, objection, outcome
from tests.methods.references import Case, spectral

SHAPES = [
    ((31, 48), "wide"),
    ((37, 37), "square"),
    ((5, 701), "wide, and longer than a block of columns"),
    ((701, 5), "tall; side by side still higher than wide, which is another way through knots"),
]
SPECTRAL = ["low_rank", "tsv", "iso_c", "iso_cts", "wudi", "svc", "knots"]


def matrix(seed: int, shape: tuple[int, int] = (24, 17)) -> Tensor:
    return normal(seed, torch.float32, shape)


def of_rank(seed: int, rank: int, shape: tuple[int, int] = (24, 17)) -> Tensor:
    return (matrix(seed, (shape[0], rank)).double() @ matrix(seed + 50, (rank, shape[1])).double()).float()


def spectrum(x: Tensor) -> Tensor:
    return torch.linalg.svdvals(x.double())


def close(found: Tensor, wanted: Tensor, within: float = 1e-6) -> bool:
    return bool((found.double() - wanted.double()).abs().max() <= within * wanted.double().abs().max())


@pytest.mark.parametrize(("shape", "why"), SHAPES, ids=[str(shape) for shape, _ in SHAPES])
@pytest.mark.parametrize(
    "case", [case for case in spectral.CASES if "wudi" not in case.node], ids=lambda case: case.node
)
def test_the_formula_holds_for_every_proportion(case: Case, shape: tuple[int, int], why: str) -> None:
    operands = [matrix(20 + n, shape) for n in range(len(node(case.node).edges()))]
    assert close(outcome(case.node, *operands), case.formula(*(x.double() for x in operands)), 1e-6), why


@pytest.mark.parametrize("shape", [(19, 11), (11, 19)])
@pytest.mark.parametrize("text", ["{op: wudi, inputs: [a, b], steps: 40}", "{op: wudi, inputs: [a, b], solver: exact}"])
def test_the_formula_of_wudi_holds_for_both_proportions(text: str, shape: tuple[int, int]) -> None:
    a, b = matrix(1, shape), matrix(2, shape)
    wanted = (spectral.wudi_exact if "exact" in text else lambda *x: spectral.wudi(*x, steps=40))(
        a.double(), b.double()
    )
    assert close(outcome(text, a, b), wanted)


# Tensors that no formula is needed for: what they become, and why.
KNOWN = [
    ("{op: low_rank, input: d, rank: 3}", (of_rank(1, 3),), of_rank(1, 3), "it has that rank already"),
    ("{op: low_rank, input: d, energy: 1}", (of_rank(1, 3),), of_rank(1, 3), "all of it"),
    ("{op: tsv, inputs: [a]}", (matrix(1),), matrix(1), "one delta has nothing in its way"),
    ("{op: tsv, inputs: [a, a]}", (of_rank(1, 3), of_rank(1, 3)), of_rank(1, 3), "the same directions count once"),
    ("{op: knots, inputs: [a]}", (matrix(1),), matrix(1), "one part is its own mean"),
    ("{op: knots, inputs: [a, b]}", (matrix(1), matrix(2)), (matrix(1) + matrix(2)) / 2, "the mean commutes"),
    ("{op: knots, inputs: [a, b], combine: ties}", (matrix(1), matrix(1)), matrix(1), "they agree everywhere"),
    ("{op: knots, inputs: [a, b], combine: ties}", (matrix(1), -matrix(1)), matrix(1) * 0, "they agree nowhere"),
    ("{op: knots, inputs: [a, b], combine: ties, density: 0}", (matrix(1), matrix(2)), matrix(1) * 0, "none is kept"),
    ("{op: wudi, inputs: [a]}", (matrix(1),), matrix(1), "nothing to disturb"),
    ("{op: wudi, inputs: [a, b], steps: 0}", (matrix(1), matrix(2)), matrix(1) + matrix(2), "it starts at the sum"),
    ("{op: svc, input: d, of: [a]}", (matrix(1), matrix(1)), matrix(1), "one task is counted once"),
    ("{op: svc, input: d, of: [a]}", (matrix(1) * 3, matrix(1)), matrix(1), "three times is brought back"),
    ("{op: svc, input: d, of: [a]}", (matrix(1) * 0.5, matrix(1)), matrix(1) * 0.5, "alpha 1 strengthens nothing"),
    ("{op: svc, input: d, of: [a], alpha: 0.1}", (matrix(1) * 0.5, matrix(1)), matrix(1), "a smaller alpha does"),
    ("{op: svc, input: d, of: [a, a]}", (matrix(1) * 2, matrix(1), matrix(1)), matrix(1), "shared, so counted twice"),
]


@pytest.mark.parametrize(("text", "operands", "wanted", "why"), KNOWN, ids=[f"{row[0]} {row[3]}" for row in KNOWN])
@pytest.mark.parametrize("turned", [False, True])
def test_known_results(text: str, operands: tuple[Tensor, ...], wanted: Tensor, why: str, turned: bool) -> None:
    if turned:
        operands, wanted = tuple(x.T.contiguous() for x in operands), wanted.T
    assert (outcome(text, *operands) - wanted).abs().max() <= 2e-6 * operands[0].abs().max(), why


def test_tasks_that_have_nothing_in_common_are_not_calmed() -> None:
    """A task without any part in a direction counts as alpha there, not as a division by nothing."""
    a, b = matrix(1), matrix(2)
    a[12:], a[:, 8:], b[:12], b[:, :8] = 0, 0, 0, 0
    assert close(outcome("{op: svc, input: d, of: [a, b]}", a + b, a, b), a + b)


@pytest.mark.parametrize(("energy", "rank"), [(0.49, 1), (0.51, 2), (0.81, 2), (0.83, 3), (1, 4)])
def test_energy_is_the_share_of_squares(energy: float, rank: int) -> None:
    """Singular values 5, 4, 3, 0.1: squares 25, 16, 9, 0.01 of 50.01."""
    delta = torch.diag(torch.tensor([3.0, 5.0, 0.1, 4.0]))
    found = outcome(f"{{op: low_rank, input: d, energy: {energy}}}", delta)
    assert int((found.diagonal().abs() > 0.01).sum()) == rank


@pytest.mark.parametrize("shape", [(24, 17), (17, 24)])
@pytest.mark.parametrize("rank", [1, 4, 17, 40])
def test_factors_are_what_low_rank_makes_strongest_first(shape: tuple[int, int], rank: int) -> None:
    delta = matrix(1, shape)
    b, a = factors(torch, delta, rank=rank)
    kept = min(rank, 17)
    assert (b.shape, a.shape) == ((shape[0], kept), (kept, shape[1]))
    assert close(outcome(f"{{op: low_rank, input: d, rank: {rank}}}", delta), b @ a)
    if rank < 17:
        assert torch.allclose(b.norm(dim=0), spectrum(delta)[:kept].sqrt())
        assert torch.allclose(a.norm(dim=1), spectrum(delta)[:kept].sqrt())


def test_factors_of_nothing_are_zero() -> None:
    b, a = factors(torch, torch.zeros(5, 3), energy=0.9)
    assert not b.any()
    assert not a.any()


def test_iso_c_levels_the_spectrum_and_keeps_its_mean() -> None:
    a, b = matrix(1), matrix(2)
    found = spectrum(outcome("{op: iso_c, inputs: [a, b]}", a, b))
    assert torch.allclose(found, spectrum(a + b).mean().expand(17), rtol=1e-6)


def test_iso_cts_is_level_too() -> None:
    found = spectrum(outcome("{op: iso_cts, inputs: [a, b]}", matrix(1), matrix(2)))
    assert torch.allclose(found, found.mean().expand(17), rtol=1e-6)


def test_iso_cts_without_room_for_tasks_is_iso_c() -> None:
    a, b = matrix(1), matrix(2)
    found = outcome("{op: iso_cts, inputs: [a, b], common_fraction: 1}", a, b)
    assert close(found, outcome("{op: iso_c, inputs: [a, b]}", a, b))


@pytest.mark.parametrize("op", ["iso_c", "iso_cts"])
def test_directions_that_are_only_rounding_are_left_out(op: str) -> None:
    """A sum of rank 5 stays of rank 5: leveled noise would be most of the result."""
    found = outcome(f"{{op: {op}, inputs: [a, b]}}", of_rank(1, 5), of_rank(1, 5))
    assert int((spectrum(found) > 1e-5 * spectrum(found)[0]).sum()) == 5


@pytest.mark.parametrize(
    ("rank", "tasks", "fraction", "own"),
    [(10, 2, 0.8, 1), (768, 8, 0.8, 19), (10, 3, 0.0, 3), (2, 8, 0.0, 0), (5, 1, 0.5, 3), (7, 2, 1.0, 0)],
)
def test_the_rank_is_split_so_that_tasks_get_equal_shares(rank: int, tasks: int, fraction: float, own: int) -> None:
    assert task_share(rank, tasks, fraction) == own


def test_tsv_gives_every_task_its_share_even_where_there_are_more_tasks_than_directions() -> None:
    found = outcome("{op: tsv, inputs: [a, b, c]}", *(matrix(n, (2, 9)) for n in range(3)))
    assert int((spectrum(found) > 1e-6).sum()) == 2


@pytest.mark.parametrize("options", ["steps: 50, lr: 0.005", "solver: exact"])
def test_wudi_disturbs_less_than_the_sum(options: str) -> None:
    a, b = matrix(1), matrix(2)
    found = outcome(f"{{op: wudi, inputs: [a, b], {options}}}", a, b)
    deltas = (a.double(), b.double())
    assert spectral.disturbance(found.double(), deltas) < 0.9 * spectral.disturbance(sum(deltas, a * 0), deltas)


def test_the_exact_minimum_disturbs_least() -> None:
    deltas = (matrix(1).double(), matrix(2).double())
    least = spectral.disturbance(outcome("{op: wudi, inputs: [a, b], solver: exact}", *deltas).double(), deltas)
    descended = outcome("{op: wudi, inputs: [a, b], steps: 2000, lr: 0.003}", *deltas).double()
    assert least <= spectral.disturbance(descended, deltas) <= 1.01 * least


@pytest.mark.parametrize("text", [case.node for case in spectral.CASES if "wudi" not in case.node])
@pytest.mark.parametrize("size", [1e-36, 1e30])
def test_the_size_of_the_deltas_does_not_matter(text: str, size: float) -> None:
    operands = [matrix(n) for n in range(len(node(text).edges()))]
    assert close(outcome(text, *(x * size for x in operands)).double() / size, outcome(text, *operands), 3e-6)


@pytest.mark.parametrize("op", SPECTRAL)
def test_a_stack_is_one_matrix_after_the_other(op: str) -> None:
    text = {"low_rank": "input: a, rank: 2", "svc": "input: a, of: [b]"}.get(op, "inputs: [a, b]")
    text = f"{{op: {op}, {text}}}"
    stacks = [normal(n, torch.float32, (3, 7, 5)) for n in range(len(node(text).edges()))]
    slices = [outcome(text, *(stack[n] for stack in stacks)) for n in range(3)]
    assert torch.equal(outcome(text, *stacks), torch.stack(slices))


@pytest.mark.parametrize("op", SPECTRAL)
def test_a_convolution_is_the_matrix_of_its_outputs(op: str) -> None:
    text = {"low_rank": "input: a, rank: 2", "svc": "input: a, of: [b]"}.get(op, "inputs: [a, b]")
    text = f"{{op: {op}, {text}}}"
    kernels_ = [normal(n, torch.float32, (6, 2, 3, 3)) for n in range(len(node(text).edges()))]
    assert torch.equal(outcome(text, *kernels_).flatten(1), outcome(text, *(x.flatten(1) for x in kernels_)))


@pytest.mark.parametrize("text", [case.node for case in spectral.CASES])
def test_a_matrix_of_nothing_stays_so(text: str) -> None:
    operands = [torch.zeros(0, 7)] * len(node(text).edges())
    assert outcome(text, *operands).shape == (0, 7)


@pytest.mark.parametrize("text", [case.node for case in spectral.CASES])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_comes_through_for_the_run_to_explain(text: str, bad: float) -> None:
    operands = [matrix(n) for n in range(len(node(text).edges()))]
    operands[-1][3, 5] = bad
    assert not outcome(text, *operands).isfinite().all()


@pytest.mark.parametrize("op", ["low_rank", "svc"])
def test_what_one_delta_is_passed_through_as_is_the_delta_itself(op: str) -> None:
    method = node({"low_rank": "{op: low_rank, input: d, rank: 2}", "svc": "{op: svc, input: d, of: [a, b]}"}[op])
    inputs = [linear([(Fraction(1), x)], "delta") for x in Models([matrix(n) for n in range(3)], "F32").reads]
    assert method.passed(inputs[: len(method.edges())], "delta") is inputs[0]


@pytest.mark.parametrize("op", SPECTRAL)
def test_whole_matrices_only(op: str) -> None:
    text = {"low_rank": "input: a, rank: 2", "svc": "input: a, of: [b]"}.get(op, "inputs: [a, b]")
    method = node(f"{{op: {op}, {text}}}")
    models = Models([matrix(n) for n in range(len(method.edges()))], "F32")
    called = [part.kernel for part in walk(expression(method, models.reads)) if isinstance(part, Apply)]
    assert method.matrices_only
    assert [kernels()[kernel].granularity for kernel in called] == ["matrix"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{op: low_rank, input: d}", "takes `rank` or `energy`, one of the two"),
        ("{op: low_rank, input: d, rank: 3, energy: 0.5}", "takes `rank` or `energy`, one of the two"),
        ("{op: low_rank, input: d, rank: 0}", "greater than or equal to 1"),
        ("{op: low_rank, input: d, rank: 2.0}", "valid integer"),
        ("{op: low_rank, input: d, energy: 0}", "greater than 0"),
        ("{op: low_rank, input: d, energy: 1.1}", "less than or equal to 1"),
        ("{op: iso_cts, inputs: [a], common_fraction: 1.5}", "less than or equal to 1"),
        ("{op: wudi, inputs: [a], lr: 0}", "greater than 0"),
        ("{op: svc, input: d, of: [a], alpha: 0}", "greater than 0"),
        ("{op: svc, input: d, of: []}", "at least 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        node(text)


def test_a_density_that_would_be_ignored_is_an_error() -> None:
    found = objection("{op: knots, inputs: [a, b], density: 0.5}")
    assert found is not None
    assert found.fix == "add `combine: ties`, or remove `density`"
    assert objection("{op: knots, inputs: [a, b], combine: ties, density: 0.5}") is None
    assert objection("{op: knots, inputs: [a, b], combine: ties, density: 1.5}") is not None
