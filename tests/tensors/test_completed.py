"""What a finished folder says of itself, whatever lies in its records."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mergegraph.tensors.completed import PROVENANCE, RUN_RECORD, Completed, completed, completed_result_id

NAN = {"xxh3_128": "0", "nonfinite": 3}
ID = b'{"result_id": "7c1e"}'


@pytest.mark.parametrize(
    ("run", "record", "expected"),
    [
        pytest.param(ID, None, Completed("7c1e"), id="an id"),
        pytest.param(ID, {"tensors": {"a": NAN}}, Completed("7c1e", {"a": NAN}), id="a tensor with NaN"),
        pytest.param(ID, {"tensors": {"a": "0"}}, Completed("7c1e", {"a": {}}), id="checksums alone"),
        pytest.param(ID, {"tensors": []}, Completed("7c1e"), id="no mapping of tensors"),
        pytest.param(b'{"result_id": 7}', None, None, id="a number"),
        pytest.param(b"[]", None, None, id="a list"),
        pytest.param(b'{"result_', None, None, id="torn"),
        pytest.param(b"\xff", None, None, id="no text"),
        pytest.param(b"[" * 100_000, None, None, id="nested too deep"),
        pytest.param(None, {"tensors": {"a": NAN}}, None, id="no file"),
    ],
)
def test_what_a_finished_folder_says(
    tmp_path: Path, run: bytes | None, record: object, expected: Completed | None
) -> None:
    if run is not None:
        (tmp_path / "mergegraph.run.json").write_bytes(run)
    if record is not None:
        (tmp_path / "mergegraph.json").write_text(json.dumps(record))
    assert completed(tmp_path) == expected
    assert completed_result_id(tmp_path) == (expected.result_id if expected else None)


def test_values_that_are_not_finite_are_counted_by_tensor() -> None:
    assert Completed("7c1e", {"a": NAN, "b": {"overflowed": 2}, "c": {"nonfinite": 0}}).nonfinite == {"a": 3}


def test_a_pipe_in_place_of_a_record_says_nothing_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / RUN_RECORD)
    os.mkfifo(tmp_path / PROVENANCE)
    assert completed(tmp_path) is None
