"""What adapter_config.json of a PEFT adapter says, as far as it changes a number.

A key is used, known to change nothing in a finished adapter, or refused by name: keys that nobody here knows are
refused too, unless they are empty.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeVar, cast

from mergegraph.errors import InputError, Location, Problem
from mergegraph.tensors import strict_json
from mergegraph.tensors.sources.door import opened, read_range

_MOST_BYTES = 10_000_000
_AGAIN = "download it again, or save the adapter again with peft"
_MERGE_FIRST = "merge the adapter into its base with peft (merge_and_unload), save that, and load it as a model"
_HARMLESS = frozenset(
    (
        "task_type", "auto_mapping", "peft_version", "revision", "inference_mode", "target_modules",
        "exclude_modules", "lora_dropout", "megatron_config", "megatron_core", "loftq_config", "eva_config",
        "corda_config", "lora_ga_config", "runtime_config", "qalora_group_size",
    )
)  # fmt: skip
"""Training and loading: they change nothing in matrices that are trained. What an initialisation changed in the base
is seen in `init_lora_weights`."""
_USED = frozenset(
    (
        "peft_type", "r", "lora_alpha", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern",
        "layers_to_transform", "layers_pattern", "init_lora_weights", "base_model_name_or_path", "bias",
    )
)  # fmt: skip
_REFUSED = {
    "use_dora": "DoRA scales every column by a learned magnitude; the result is not the base plus B A",
    "layer_replication": "the adapter belongs to a model whose layers are repeated, not to this base",
    "trainable_token_indices": "some rows of the embedding were trained as they are, beside the matrices",
    "target_parameters": "the adapter changes parameters that are no modules, such as stacked experts",
    "lora_bias": "the matrices have biases, which change the base's biases too",
    "modules_to_save": "some modules were trained as they are, beside the matrices",
    "use_qalora": "the inputs of the matrices are pooled in groups",
    "use_bdlora": "the matrices are block-diagonal",
    "alora_invocation_tokens": "the adapter is active only after certain tokens; a merged model always is",
    "velora_config": "the matrices are of another method, VeLoRA",
    "monteclora_config": "the matrices are sampled anew each time",
    "arrow_config": "it routes between several adapters",
    "kasa_config": "the matrices are of another method, KaSA",
    "ensure_weight_tying": "the matrices of the head are those of the embedding, transposed",
}
_KEPT_BASES = (None, True, False, "gaussian", "eva", "orthogonal")
"""Initialisations that leave the base as it is. pissa, olora, corda, loftq, mica and lora_ga take a part out of it."""

T = TypeVar("T")


@dataclass(frozen=True)
class AdapterConfig:
    """`rank` and `alpha` hold where no pattern of `ranks` or `alphas` does. `layers`: the only ones, or None for all.

    `is_transposed`: the base stores its matrices [in, out] (`fan_in_fan_out`). `base`: what it was trained on.
    """

    rank: int
    alpha: float
    is_rank_stabilised: bool = False
    is_transposed: bool = False
    ranks: Mapping[str, int] = field(default_factory=dict[str, int])
    alphas: Mapping[str, float] = field(default_factory=dict[str, float])
    layers: frozenset[int] | None = None
    layer_patterns: tuple[str, ...] = ()
    base: str = ""

    def rank_of(self, module: str) -> int:
        """The rank of a module's matrices."""
        return _of_pattern(self.ranks, module, self.rank)

    def scaling(self, module: str) -> Fraction:
        """alpha / rank; with rank-stabilised LoRA alpha / √rank, as float64 gives it."""
        alpha, rank = _of_pattern(self.alphas, module, self.alpha), self.rank_of(module)
        return Fraction(alpha / math.sqrt(rank)) if self.is_rank_stabilised else Fraction(repr(alpha)) / rank

    def includes(self, module: str) -> bool:
        """Whether `layers_to_transform` has the layer of a module; peft builds no matrices elsewhere."""
        if self.layers is None:
            return True
        patterns = [rf"(?:^|.*?\.){pattern}\.(\d+)\." for pattern in self.layer_patterns] or [r".*?\.[^.]*\.(\d+)\."]
        found = next((found for pattern in patterns if (found := re.match(pattern, module))), None)
        return found is not None and int(found[1]) in self.layers


def read_adapter_config(path: str) -> AdapterConfig:
    """The config at `path`. InputError with everything in it that is refused."""
    try:
        with opened(path) as file:
            parsed: object = strict_json.parse(read_range(file, 0, _MOST_BYTES), floats=True)
    except OSError as error:
        fix = "put a file that you may read in its place"
        raise InputError(Problem(f"{path} cannot be read: {error.strerror}.", fix=fix)) from error
    except ValueError as error:
        raise InputError(Problem(f"{path} is not JSON: {error}.", at=Location(path), fix=_AGAIN)) from error
    if not isinstance(parsed, dict):
        raise InputError(Problem(f"{path} is not a JSON object.", at=Location(path), fix=_AGAIN))
    config = cast("dict[str, Any]", parsed)
    problems = list(_problems(config))
    if problems:
        raise InputError(*[problem.located(Location(path)) for problem in problems])
    return _config(config)


def _config(config: Mapping[str, Any]) -> AdapterConfig:
    layers, patterns = config.get("layers_to_transform"), config.get("layers_pattern") or ()
    numbers = [layers] if isinstance(layers, int) else layers
    return AdapterConfig(
        rank=config.get("r", 8),
        alpha=config.get("lora_alpha", 8),
        is_rank_stabilised=bool(config.get("use_rslora")),
        is_transposed=bool(config.get("fan_in_fan_out")),
        ranks=config.get("rank_pattern") or {},
        alphas=config.get("alpha_pattern") or {},
        layers=frozenset(numbers) if numbers else None,
        layer_patterns=(patterns,) if isinstance(patterns, str) else tuple(patterns),
        base=config.get("base_model_name_or_path") or "",
    )


def _problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """What is refused, and what is not of the type it should be."""
    if config.get("peft_type", "LORA") != "LORA":
        why = "only LoRA is a product of two matrices that can be added to the base"
        yield _refused("peft_type", config["peft_type"], why)
    yield from (_refused(key, value, _REFUSED[key]) for key, value in config.items() if key in _REFUSED and value)
    start = config.get("init_lora_weights")
    if not any(start is known or (isinstance(start, str) and start == known) for known in _KEPT_BASES):
        why = "the matrices are relative to a base that this initialisation changed, not to the base as it is stored"
        yield _refused("init_lora_weights", start, why)
    if config.get("bias", "none") not in ("none", None):
        yield _refused("bias", config["bias"], "the base's biases were trained too")
    unknown = [key for key, value in config.items() if key not in _USED | _HARMLESS | _REFUSED.keys() and value]
    yield from (_refused(key, config[key], "what it does to the matrices is not known here") for key in unknown)
    for key, (is_right, wanted) in _TYPES.items():
        if config.get(key) is not None and not is_right(config[key]):
            yield Problem(f"`{key}: {_shown(config[key])}` is not {wanted}.", fix="correct it in the file")


def _refused(key: str, value: object, why: str) -> Problem:
    return Problem(f"The adapter cannot be added: `{key}: {_shown(value)}`.", why=why, fix=_MERGE_FIRST)


def _shown(value: object) -> str:
    text = "true" if value is True else "false" if value is False else str(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_pattern(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except re.error:
        return False


def _are_ranks(value: object) -> bool:
    entries = cast("Mapping[str, object]", value) if isinstance(value, dict) else {"(": 0}
    return all(_is_pattern(key) and _is_rank(rank) for key, rank in entries.items())


def _are_alphas(value: object) -> bool:
    entries = cast("Mapping[str, object]", value) if isinstance(value, dict) else {"(": 0}
    return all(_is_pattern(key) and _is_number(alpha) for key, alpha in entries.items())


def _are_layers(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, list) and all(map(_is_whole, cast("list[object]", value))))


def _are_patterns(value: object) -> bool:
    return _is_pattern(value) or (isinstance(value, list) and all(map(_is_pattern, cast("list[object]", value))))


_TYPES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "r": (_is_rank, "a whole number above zero"),
    "lora_alpha": (_is_number, "a number"),
    "use_rslora": (_is_truth, "true or false"),
    "fan_in_fan_out": (_is_truth, "true or false"),
    "rank_pattern": (_are_ranks, "an object that gives the ranks of modules"),
    "alpha_pattern": (_are_alphas, "an object that gives the alphas of modules"),
    "layers_to_transform": (_are_layers, "a list of layers"),
    "layers_pattern": (_are_patterns, "the name of a list of layers"),
    "base_model_name_or_path": (_is_text, "text"),
}


def _of_pattern(patterns: Mapping[str, T], module: str, otherwise: T) -> T:
    """The value of the first pattern that a module's name ends with, as peft matches them."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), otherwise)
