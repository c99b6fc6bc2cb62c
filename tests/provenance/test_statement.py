"""The statement has what in-toto Statement v1 and SLSA Provenance v1 require, and speaks of the files as they are.

https://github.com/in-toto/attestation/tree/main/spec/v1, https://slsa.dev/spec/v1.0/provenance. The package
in-toto-attestation 0.9.3 accepts these statements too.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mergegraph.errors import RunError
from mergegraph.provenance.attest import attest
from tests.execute.merging import merged, planned
from tests.provenance.outputs import NODES, SHARDED, flip, write_inputs

MODEL_SCOPE = """base: {op: load, model: ./base}
code: {op: load, model: ./code}
d: code - base
t: {op: trim, input: d, density: 0.5, scope: model}
s: base + 0.5*t
m: {op: select, cases: [{match: lm_head.weight, from: s}], otherwise: base}
out: {op: save, input: m, path: out}"""


def stated(output: Path) -> Any:
    return json.loads(attest(output, lambda read, total: None).statement)


def require_descriptor(descriptor: dict[str, Any]) -> None:
    """ResourceDescriptor: fields of known types, and one of uri, digest and content at least."""
    assert descriptor.keys() <= {"name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations"}
    assert descriptor.keys() & {"uri", "digest", "content"}
    for algorithm, digest in descriptor.get("digest", {}).items():
        assert algorithm == "sha256"
        assert re.fullmatch("[0-9a-f]{64}", digest)


def require_type_uri(uri: str) -> None:
    assert urlsplit(uri).scheme
    assert uri == uri.strip()


@pytest.mark.parametrize("nodes", [NODES, SHARDED], ids=["one file", "shards"])
@pytest.mark.parametrize("verified", [False, True], ids=["plain", "read back"])
def test_it_has_what_the_specifications_require(nodes: str, verified: bool, tmp_path: Path) -> None:
    merged(planned(write_inputs(tmp_path), nodes), verify_output=verified)
    statement = stated(tmp_path / "out")
    assert statement.keys() == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    for subject in statement["subject"]:
        require_descriptor(subject)
        assert subject.keys() == {"name", "digest"}
    assert len({subject["name"] for subject in statement["subject"]}) == len(statement["subject"]) > 1
    predicate = statement["predicate"]
    assert predicate.keys() == {"buildDefinition", "runDetails"}
    definition = predicate["buildDefinition"]
    assert definition.keys() == {"buildType", "externalParameters", "internalParameters", "resolvedDependencies"}
    require_type_uri(definition["buildType"])
    for dependency in definition["resolvedDependencies"]:
        require_descriptor(dependency)
    builder = predicate["runDetails"]["builder"]
    require_type_uri(builder["id"])
    assert all(isinstance(version, str) for version in builder["version"].values())


def test_it_speaks_of_every_file_and_input_by_its_sha256(tmp_path: Path) -> None:
    merged(planned(write_inputs(tmp_path), SHARDED))
    statement = stated(tmp_path / "out")
    names = {file.name for file in (tmp_path / "out").iterdir()} - {"mergegraph.run.json"}
    assert {subject["name"] for subject in statement["subject"]} == names
    for subject in statement["subject"]:
        content = (tmp_path / "out" / subject["name"]).read_bytes()
        assert subject["digest"]["sha256"] == hashlib.sha256(content).hexdigest()
    definition = statement["predicate"]["buildDefinition"]
    assert "base + 0.5*(code - base)" in definition["externalParameters"]["recipe"]
    assert [each["name"] for each in definition["resolvedDependencies"]] == [
        "base/model.safetensors", "code/model-00001-of-00002.safetensors", "code/model-00002-of-00002.safetensors",
    ]  # fmt: skip
    for each in definition["resolvedDependencies"]:
        content = (tmp_path / each["uri"]).read_bytes()
        assert each["digest"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_one_in_the_folder_is_the_one_that_is_computed(tmp_path: Path) -> None:
    merged(planned(write_inputs(tmp_path), SHARDED), verify_output=True)
    attested = attest(tmp_path / "out", lambda read, total: None)
    assert attested.statement == (tmp_path / "out" / "mergegraph.intoto.json").read_bytes()


def test_an_input_that_changed_is_stated_without_a_digest_and_told(tmp_path: Path) -> None:
    merged(planned(write_inputs(tmp_path), NODES))
    flip(tmp_path / "base" / "model.safetensors", 900)
    (tmp_path / "code" / "model-00002-of-00002.safetensors").unlink()
    attested = attest(tmp_path / "out", lambda read, total: None)
    dependencies = json.loads(attested.statement)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert ["digest" in each for each in dependencies] == [False, True, False]
    assert [warning.fact.split()[0] for warning in attested.warnings] == [
        "base/model.safetensors",
        "code/model-00002-of-00002.safetensors",
    ]


def test_nothing_is_stated_of_an_output_that_changed(tmp_path: Path) -> None:
    merged(planned(write_inputs(tmp_path), NODES))
    flip(tmp_path / "out" / "config.json", 5)
    with pytest.raises(RunError, match=r"config\.json is not as it was written"):
        attest(tmp_path / "out", lambda read, total: None)


def test_a_file_that_is_read_for_a_statistic_alone_is_an_input(tmp_path: Path) -> None:
    """One tensor is taken from `code`; the threshold is that of all its tensors, which lie in two files."""
    merged(planned(write_inputs(tmp_path), MODEL_SCOPE))
    files = [each["file"] for each in json.loads((tmp_path / "out" / "mergegraph.json").read_text())["inputs"]]
    assert files == [
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
