"""All metrics, with how they are called, computed and read. Whoever shows metrics goes by this table."""

from __future__ import annotations

from typing import Final

from mergegraph.stats import floors, measures, outcomes, spectral, thinning
from mergegraph.stats.at import BASE, At
from mergegraph.stats.energy import NORMAL_90, NORMAL_99
from mergegraph.stats.metric import Metric

TABLE: Final = (
    Metric(
        "relative", "relative change ρ", "change", "number", "‖τ‖ / ‖W0‖",
        "How far a model moved, against the size of what it started from.",
        "high", measures.relative, floors.relative_floor, "rounding to bf16 alone gives 0.0016, to fp16 0.0002",
    ),
    Metric(
        "share", "share of the change", "change", "share", "‖τ^t‖² / Σ_t ‖τ^t‖²",
        "Where the change is; compare it with the share of the parameters.", "high", measures.share_of_change,
        of_models="share of the squares",
    ),
    Metric("norm", "norm", "change", "number", "‖τ‖ = √Σ τ²", "The length of the change.", "none", measures.norm),
    Metric("rms", "root mean square", "change", "number", "√(Σ τ² / n)",
           "The size of a typical change of one element.", "high", measures.rms),
    Metric("largest", "largest change", "change", "number", "max |τ| of the elements counted",
           "One element far above the root mean square is an outlier or damage.", "high", measures.largest,
           of_models="largest weight"),
    Metric("base_norm", "norm of the base", "tensor", "number", "‖W0‖",
           "What a relative change is relative to.", "none", lambda at: measures.norm(At(at.tensor, BASE))),
    Metric(
        "mean", "mean", "change", "number", "Σ τ / n", "A shift of all elements in one direction.",
        "far", measures.mean, floors.mean_floor, "0 ± std/√n", 0.0,
    ),
    Metric("std", "standard deviation", "change", "number", "√(Σ τ²/n − mean²)",
           "The size of a typical change, without the shift.", "none", measures.std),
    Metric(
        "kurtosis", "kurtosis", "change", "number", "Σ (τ − mean)⁴ / n / std⁴",
        "3 for normal values; far above it a few elements carry the change.",
        "high", measures.kurtosis, floors.kurtosis_floor, "3 ± √(24/n)", 3.0,
    ),
    Metric("zeros", "unchanged elements", "change", "share", "#{τ = 0} / n",
           "Elements that training did not move, or not beyond what the dtype can hold.", "high", measures.zeros,
           of_models="zeros"),
    Metric("nonfinite", "not finite", "change", "count", "#{τ is NaN or ∞}",
           "Any at all is damage.", "high", measures.nonfinite),
    Metric(
        "density_90", "density of 90 % of the energy", "change", "share", "fewest elements with Σ τ² ≥ 0.9 of all",
        "Low: few elements carry the change, and trimming the others loses little.",
        "low", measures.density_holding(0.9), floors.normal_density_floor(NORMAL_90),
        "44.5 % for normal values; ± is what the histogram leaves open", NORMAL_90,
    ),
    Metric(
        "density_99", "density of 99 % of the energy", "change", "share", "fewest elements with Σ τ² ≥ 0.99 of all",
        "As for 90 %, with less left behind.",
        "low", measures.density_holding(0.99), floors.normal_density_floor(NORMAL_99),
        "73.5 % for normal values; ± is what the histogram leaves open", NORMAL_99,
    ),
    Metric(
        "cosine", "cosine of two changes", "pair", "number", "⟨τ_i, τ_j⟩ / (‖τ_i‖ ‖τ_j‖)",
        "1: the same direction; 0: unrelated; below 0 they work against each other.",
        "far", measures.cosine, floors.cosine_floor, "0 ± 1/√n, n the elements that both changed", 0.0,
        of_models="cosine of two models",
    ),
    Metric(
        "z", "z of the cosine", "pair", "number", "cos · √n, n the elements that both changed",
        "The cosine in standard deviations of chance.", "far", measures.z_score, floors.z_floor, "0 ± 1", 0.0,
    ),
    Metric(
        "projection", "projection", "ordered pair", "number", "⟨τ_i, τ_j⟩ / ‖τ_j‖²",
        "How much of τ_j is contained in τ_i: adding τ_i at strength 1 adds this much τ_j.",
        "far", measures.projection, floors.projection_floor, "0 ± ‖τ_i‖ / (‖τ_j‖ √n)", 0.0,
    ),
    Metric(
        "sign_conflict", "sign conflict", "pair", "share", "#{τ_i τ_j < 0} / #{τ_i τ_j ≠ 0}",
        "How often two changes pull an element in opposite directions; 50 % is chance.",
        "high", measures.sign_conflict, floors.conflict_floor, "50 % ± 50 %/√n", 0.5,
    ),
    Metric(
        "weight_cosine", "cosine of full weights", "models", "number", "⟨W_i, W_j⟩ / (‖W_i‖ ‖W_j‖), matrices only",
        "Near 1 for models of one origin, near 0 for models of two: those have no common basis. Nothing else.",
        "low", measures.weight_cosine, floors.weight_cosine_floor, "0 ± 1/√n", matrices_only=True,
    ),
    Metric("asymmetry", "asymmetry of size", "tensor", "number", "max_i ‖τ_i‖ / min_i ‖τ_i‖",
           "Above 3 the largest change decides what a plain average is.", "high", measures.asymmetry),
    Metric(
        "mass_conflict", "conflict by mass", "tensor", "share", "1 − Σ |Σ_i τ_i| / Σ Σ_i |τ_i|",
        "The share of all movement that cancels when the changes are added.",
        "high", measures.mass_conflict, floors.mass_conflict_floor, "1 − √Σ‖τ_i‖² / Σ‖τ_i‖ for unrelated changes",
    ),
    Metric(
        "winner_share", "share of largest changes", "source", "share", "#{|τ_i| is the largest} / n",
        "How many elements a source would win by size.",
        "far", measures.winner_share, floors.winner_floor, "1/k for changes of one size",
        of_models="share of largest weights",
    ),
    Metric("trim_loss", "mass lost by trim", "source", "share", "1 − Σ |trim(τ)| / Σ |τ|",
           "What the recipe's density cuts off, before the rest is scaled up.", "high", thinning.trim_loss),
    Metric("election_loss", "mass lost by election", "source", "share", "1 − Σ_{sign τ elected} |τ| / Σ |τ|",
           "What is left out because the other sign won, of what came into the election.",
           "high", thinning.election_loss),
    Metric("drop_variance", "variance that dropping adds", "source", "number", "p / (1 − p), p = 1 − density",
           "Forecast of `dare`, against the energy of the change: 1 is noise as large as the change.",
           "high", thinning.drop_variance),
    Metric("drop_error", "expected error of dropping", "source", "number", "√(E ‖dare(τ) − τ‖²) / ‖τ‖",
           "Forecast of how far what is kept, scaled as the recipe says, is from the change.",
           "high", thinning.drop_error),
    Metric(
        "retention", "retention", "source", "number", "⟨τ*, τ_i⟩ / ‖τ_i‖²",
        "How much of a source's change is in the result: 1 all, 0 nothing, above 1 amplified.",
        "far", outcomes.retention, floors.retention_floor, "0 ± ‖τ*‖ / (‖τ_i‖ √n)",
    ),
    Metric(
        "attribution", "attribution", "source", "number", "c of the least squares τ* ≈ Σ c_i τ_i, c = G⁻¹g",
        "The strength of each source that explains the result best.",
        "far", outcomes.attribution, floors.attribution_floor, "0 ± its standard error",
    ),
    Metric("residual", "residual share", "tensor", "share", "‖τ* − Σ c_i τ_i‖² / ‖τ*‖²",
           "The part of the result that no strengths explain: 0 for a linear merge.", "high", outcomes.residual),
    Metric("shrinkage", "length of the result", "tensor", "number", "‖τ*‖ / mean_i ‖τ_i‖",
           "An average of k unrelated changes has 1/√k, of equal ones 1.", "low", outcomes.shrinkage),
    Metric("outside_hull", "outside the inputs", "tensor", "share", "#{W* outside [min_i W_i, max_i W_i]} / n",
           "Elements that went beyond what any input (or the base) has.", "high", outcomes.outside_hull),
    Metric(
        "cast_loss", "cast loss", "tensor", "share", "‖cast(W*) − W*‖ / ‖τ*‖",
        "How much of the change rounding to the dtype costs.",
        "high", outcomes.cast_loss, floors.cast_floor, "rounding of the dtype · ‖W*‖ / ‖τ*‖",
    ),
    Metric("rounded_away", "rounded away", "tensor", "share", "#{cast(W*) = cast(W0), τ* ≠ 0} / #{τ* ≠ 0}",
           "Elements that the merge moved and rounding moved back.", "high", outcomes.rounded_away),
    Metric("overflowed", "beyond the dtype", "tensor", "count", "#{W* is finite and its dtype cannot hold it}",
           "Any at all is damage: they became infinite, or the largest number.", "high", outcomes.overflowed),
    Metric(
        "spectral_norm", "spectral norm", "change", "number", "σ₁, the largest singular value of τ",
        "How far the change can move the output for an input of length 1.",
        "high", spectral.spectral_norm, spectral.spectral_norm_floor, "rms · (√rows + √columns) for normal values",
        matrices_only=True,
    ),
    Metric(
        "stable_rank", "stable rank", "change", "number", "‖τ‖² / σ₁²",
        "Low: few directions carry the change; it is never above the rank.",
        "low", spectral.stable_rank, spectral.stable_rank_floor,
        "rows · columns / (√rows + √columns)² for normal values", matrices_only=True,
    ),
    Metric(
        "effective_rank", "effective rank of the leading spectrum", "change", "number",
        "exp(−Σ p ln p), p = σ_i / Σ σ over the 32 largest",
        "32: the leading directions are equally strong; 1: one of them is the change. It is not of the whole spectrum.",
        "low", spectral.effective_rank, matrices_only=True,
    ),
    Metric("leading_energy", "energy of the leading directions", "change", "share", "Σ σ_i² of the 32 largest / ‖τ‖²",
           "What a LoRA of rank 32 could hold of the change.", "high", spectral.leading_energy, matrices_only=True),
    Metric("rank_90", "rank of 90 % of the energy", "change", "count", "fewest r with σ_1² + … + σ_r² ≥ 0.9 ‖τ‖²",
           "No value where it is above 32.", "low", spectral.rank_90, matrices_only=True),
    Metric(
        "rank_above_rounding", "rank above rounding", "source", "count",
        "fewest r with ‖τ‖² − σ_1² − … − σ_r² ≤ 1.5 · rounding",
        "Small: the change looks like a LoRA of this rank. No value where it is above 32.",
        "low", spectral.rank_above_rounding, matrices_only=True,
    ),
    Metric(
        "overlap_left", "overlap of output directions", "pair", "number",
        "‖U_iᵀ U_j‖² / k of the k leading left singular vectors",
        "1: two changes write into the same directions; chance: unrelated ones.",
        "high", spectral.overlap("left"), spectral.overlap_floor("left"), "k / rows", matrices_only=True,
    ),
    Metric(
        "overlap_right", "overlap of input directions", "pair", "number",
        "‖V_iᵀ V_j‖² / k of the k leading right singular vectors",
        "1: two changes read from the same directions; chance: unrelated ones.",
        "high", spectral.overlap("right"), spectral.overlap_floor("right"), "k / columns", matrices_only=True,
    ),
)  # fmt: skip
