"""The two records of an output: `mergegraph.json`, which is content, and `mergegraph.run.json`, which is one run.

`mergegraph.json` holds nothing that differs between two runs of one recipe on the same bytes: no time, no host, no
path, no inode; a merge and a conversion of pickled files each have a form of it. `mergegraph.run.json` holds what it
leaves out, the result id that is made of some of that, and the sha256 of the other record. docs/provenance.md explains
every key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from mergegraph.tensors import strict_json

NOT_COMPUTED = "not computed"
"""Stands for a sha256 that would have taken another read of the file."""


def _plain_name(name: str) -> str:
    """A record must not lead whoever checks it to other folders."""
    if not name or PurePath(name).name != name or name == ".." or "\0" in name:
        raise ValueError("it is not the name of a file in the output's folder")
    return name


FileName = Annotated[str, AfterValidator(_plain_name)]
Xxh3 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Device(_Record):
    """What computed. `capability`: the instruction set that torch used, on which last bits depend."""

    kind: str
    capability: str


class Input(_Record):
    """A file that was read: of the model that `node` loads and the recipe calls `model`. `source`: where it lies, if
    that is a server: on the Hub at a commit."""

    node: str
    model: str
    file: str
    bytes: Count
    sha256: Sha256 | Literal["not computed"]
    source: str = ""

    @model_serializer(mode="wrap")
    def _written(self, plainly: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `source` where there is none."""
        return {key: value for key, value in plainly(self).items() if key != "source" or value}


class Weights(_Record):
    """A file of tensors. With `header_xxh3_128` and the tensors' checksums, none of its bytes is unaccounted for."""

    file: FileName
    bytes: Count
    sha256: Sha256 | Literal["not computed"]
    tensors: Count
    header_xxh3_128: Xxh3


class Beside(_Record):
    """A file beside the tensors."""

    file: FileName
    bytes: Count
    sha256: Sha256


class Stored(_Record):
    """A tensor whose values nobody looked at."""

    xxh3_128: Xxh3


class Tensor(Stored):
    """A computed tensor; how many of its values are NaN or Inf, or did not fit the dtype."""

    nonfinite: Count = 0
    overflowed: Count = 0


class Provenance(_Record):
    """mergegraph.json of a merge."""

    mergegraph: Literal[2]
    name: str
    versions: dict[str, str]
    device: Device
    seed: int
    space: Literal["weights", "delta"]
    recipe: str
    recipe_sha256: Sha256
    plan_sha256: Sha256
    inputs: tuple[Input, ...] = Field(strict=False)
    weights: tuple[Weights, ...] = Field(strict=False)
    beside: tuple[Beside, ...] = Field(strict=False)
    tensors: dict[str, Tensor]

    @property
    def is_hashed(self) -> bool:
        """Whether the sha256 of every file of tensors is known."""
        return _are_hashed(self.weights)

    def total(self, fact: Literal["nonfinite", "overflowed"]) -> int:
        return sum(getattr(tensor, fact) for tensor in self.tensors.values())


class PickledInput(_Record):
    """A pickled file that was converted."""

    file: str
    bytes: Count
    sha256: Sha256


class Conversion(_Record):
    """mergegraph.json of a conversion, which has no recipe, plan or seed, and computes nothing.

    `key`: where in the pickle the tensors were said to be. `tied`: heads that were not written, to what they are.
    """

    mergegraph: Literal[2]
    converted: Literal["from pickle"]
    versions: dict[str, str]
    key: str | None = None
    inputs: tuple[PickledInput, ...] = Field(strict=False)
    tied: dict[str, str]
    weights: tuple[Weights, ...] = Field(strict=False)
    beside: tuple[Beside, ...] = Field(strict=False)
    tensors: dict[str, Stored]

    @property
    def is_hashed(self) -> bool:
        """Whether the sha256 of every file of tensors is known."""
        return _are_hashed(self.weights)


AnyProvenance: TypeAlias = Provenance | Conversion


def _are_hashed(weights: tuple[Weights, ...]) -> bool:
    return all(each.sha256 != NOT_COMPUTED for each in weights)


class RunInput(_Record):
    """Where an input lay, and which file it was: device, inode, bytes, time of change."""

    path: str
    identity: str


class RunRecord(_Record):
    """mergegraph.run.json. `verified`: every byte was read back from disk and compared before it was published."""

    mergegraph_run: Literal[1]
    result_id: str
    provenance_sha256: Sha256
    started: str
    finished: str
    host: str
    system: str
    tensors_resumed: Count
    verified: bool
    inputs: tuple[RunInput, ...] = Field(strict=False)


AnyRecord = TypeVar("AnyRecord", Provenance, Conversion, RunRecord)


def encode(record: AnyProvenance | RunRecord) -> bytes:
    """The bytes of a record; equal records are equal bytes. Counts of zero are left out of tensors."""
    return json_bytes(record.model_dump(mode="json", exclude_defaults=True))


def json_bytes(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()


def decode(kind: type[AnyRecord], raw: bytes) -> AnyRecord:
    """ValueError says what is wrong, in one line."""
    document: object = strict_json.parse(raw, floats=True)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise ValueError(f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}") from error
