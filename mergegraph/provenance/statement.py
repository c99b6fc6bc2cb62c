"""An output's provenance as others read it: an in-toto Statement v1 with a SLSA Provenance v1 predicate, unsigned.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and https://slsa.dev/spec/v1.0/provenance. It
says no more than `mergegraph.json` and the digests of files, so it has no time, and is the same for the same output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from mergegraph.provenance.record import (
    NOT_COMPUTED,
    AnyProvenance,
    Conversion,
    Input,
    PickledInput,
    Provenance,
    json_bytes,
)
from mergegraph.tensors.completed import PROVENANCE
from mergegraph.tensors.sources.hub_names import commit_of

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "pkg:pypi/mergegraph#docs/provenance.md"


def statement(provenance: AnyProvenance, digests: Mapping[str, str], inputs: Mapping[int, str] | None = None) -> bytes:
    """`digests`: the sha256 of every file that is a subject. `inputs`: of inputs by their place, where known."""
    return json_bytes(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": file, "digest": {"sha256": digests[file]}} for file in subjects(provenance)],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": _conversion(provenance)
                if isinstance(provenance, Conversion)
                else _definition(provenance, inputs or {}),
                "runDetails": {
                    "builder": {
                        "id": f"pkg:pypi/mergegraph@{quote(provenance.versions.get('mergegraph', ''))}",
                        "version": dict(provenance.versions),
                    }
                },
            },
        }
    )


def subjects(provenance: AnyProvenance) -> Iterator[str]:
    """The files that the statement speaks of: the tensors, what lies beside them, the record."""
    yield from (each.file for each in provenance.weights)
    yield from (each.file for each in provenance.beside)
    yield PROVENANCE


def _definition(provenance: Provenance, inputs: Mapping[int, str]) -> dict[str, Any]:
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": {"recipe": provenance.recipe, "seed": provenance.seed},
        "internalParameters": {
            "device": provenance.device.model_dump(),
            "plan_sha256": provenance.plan_sha256,
            "recipe_sha256": provenance.recipe_sha256,
        },
        "resolvedDependencies": [
            _dependency(each, inputs.get(index, each.sha256)) for index, each in enumerate(provenance.inputs)
        ],
    }


def _conversion(provenance: Conversion) -> dict[str, Any]:
    key = {} if provenance.key is None else {"key": provenance.key}
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": {"converted": provenance.converted, **key},
        "resolvedDependencies": [_pickled(each) for each in provenance.inputs],
    }


def _pickled(read: PickledInput) -> dict[str, Any]:
    return {"name": read.file, "uri": quote(read.file), "digest": {"sha256": read.sha256}}


def _dependency(read: Input, sha256: str) -> dict[str, Any]:
    """A file that was read. Its URI is relative to the recipe, as the recipe's own reference is; of a file on a server,
    where it lies."""
    of_folder = not read.model.endswith(".safetensors")
    place = f"{read.model.rstrip('/')}/{read.file}" if of_folder else read.model
    uri = quote(read.source, safe="/:@") if read.source else quote(place)
    digest = {} if sha256 == NOT_COMPUTED else {"sha256": sha256}
    if (commit := commit_of(read.source)) != "":
        digest["gitCommit"] = commit
    described: dict[str, Any] = {"name": f"{read.node}/{read.file}", "uri": uri}
    return {**described, "digest": digest} if digest else described
