"""The merges that peers were run on, and what they gave: `CASES`.

The tables `mergekit.yaml` and `sd_mecha.yaml` say what is run; `make_golden.py` writes the results beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

from tests.golden.inputs import MODELS, Array
from tests.golden.sampling import Sample

FOLDER = Path(__file__).parent

Peer = Literal["mergekit", "sd_mecha"]
VERSIONS: Mapping[Peer, str] = {"mergekit": "0.1.5", "sd_mecha": "1.1.8"}


@dataclass(frozen=True, eq=False)
class Case:
    """One merge of one peer.

    `config`: what the peer read: of mergekit its configuration, or a list of them for mergekit-multi; of sd-mecha
    nested calls. `models`: names in `inputs.MODELS`. `space`: whether the outcome is weights or a delta.
    `keep_layers`: a norm and a key projection of every layer are stored. `tolerance`: how far a result may be from
    the peer's, as a share of the largest magnitude in the tensor. `flips`: the share of a tensor's elements that may
    be farther off, because the peer's own rounding decides them. `random`: has samples instead of values.
    """

    name: str
    peer: Peer
    version: str
    why: str
    config: Any
    models: tuple[str, ...]
    space: Literal["weight", "delta"]
    keep_layers: bool
    tolerance: float
    flips: float
    random: bool

    def expected(self) -> dict[str, Array]:
        """What the peer wrote, float32, by tensor; a part of the tensors, of every kind. Empty if random."""
        prefix = f"{self.name}/"
        stored = _stored_values(self.peer)
        return {key.removeprefix(prefix): values for key, values in stored.items() if key.startswith(prefix)}

    def samples(self) -> Mapping[str, list[Sample]]:
        """By tensor, `sampling.describe` of the outcome (less the base), one for each seed. Empty if not random."""
        return _stored_samples()[self.peer].get(self.name, {})

    def fingerprint(self) -> str:
        """SHA-256 of the configuration, stored with the results so that one cannot change without the other."""
        return hashlib.sha256(json.dumps([self.config, self.space], sort_keys=True).encode()).hexdigest()


def values_file(peer: Peer) -> Path:
    """Where the tensors of all cases of `peer` are stored, as CASE/TENSOR."""
    return FOLDER / f"{peer}.safetensors"


def samples_file() -> Path:
    """Where the samples of the random cases are stored."""
    return FOLDER / "samples.json"


@cache
def _stored_values(peer: Peer) -> dict[str, Array]:
    return load_file(values_file(peer))


@cache
def _stored_samples() -> dict[str, dict[str, dict[str, list[Sample]]]]:
    return json.loads(samples_file().read_text())


def _strings(config: Any) -> set[str]:
    """All strings that are values in `config`."""
    if isinstance(config, Mapping):
        return set().union(*(_strings(value) for value in config.values()))  # pyright: ignore[reportUnknownVariableType]
    if isinstance(config, list):
        return set().union(*(_strings(value) for value in config))  # pyright: ignore[reportUnknownVariableType]
    return {config} if isinstance(config, str) else set()


def _cases(peer: Peer) -> list[Case]:
    table: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / f"{peer}.yaml").read_text())
    return [
        Case(
            name=name,
            peer=peer,
            version=VERSIONS[peer],
            why=row["why"],
            config=row["config"],
            models=tuple(model for model in MODELS if model in _strings(row["config"])),
            space=row.get("space", "weight"),
            keep_layers=row.get("keep") == "layers",
            tolerance=row.get("tolerance", 1e-6),
            flips=row.get("flips", 0.0),
            random=row.get("random", False),
        )
        for name, row in table.items()
    ]


CASES: tuple[Case, ...] = (*_cases("mergekit"), *_cases("sd_mecha"))
