"""A ledger that is read while it grows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mergegraph.errors import InputError
from mergegraph.search.ledger import LEDGER, LOCK, Ledger, Seen, read_ledger, writer


def test_a_look_reads_what_is_new_and_only_whole_lines(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    assert not seen.look()
    with Ledger(tmp_path) as ledger:
        ledger.append("noted", content="1")
        assert seen.look()
        assert not seen.look()
        ledger.append("ended", state="done")
    with (tmp_path / LEDGER).open("ab") as torn:
        torn.write(b'{"event": "beg')
    assert seen.look()
    assert [entry["event"] for entry in seen.entries] == ["noted", "ended"]
    assert tuple(seen.entries) == read_ledger(tmp_path)


def test_a_ledger_that_is_written_anew_is_read_from_its_start(tmp_path: Path) -> None:
    (tmp_path / LEDGER).write_text('{"event": "noted"}\n{"event": "noted"}\n')
    seen = Seen(tmp_path)
    seen.look()
    (tmp_path / "other").write_text('{"event": "noted", "x": 1}\n')
    (tmp_path / "other").rename(tmp_path / LEDGER)
    assert seen.look()
    assert seen.entries == [{"event": "noted", "x": 1}]
    (tmp_path / LEDGER).unlink()
    assert seen.look()
    assert not seen.entries


def test_a_line_that_is_no_entry_is_named(tmp_path: Path) -> None:
    for line, lacks in (("17", "event"), ('{"event": "ended"}', "state"), ('{"event": "evaluated"}', "answered")):
        (tmp_path / LEDGER).write_text(f'{{"event": "noted"}}\n{line}\n')
        with pytest.raises(InputError) as caught:
            read_ledger(tmp_path)
        assert f"{LEDGER}:2" in str(caught.value)
        assert lacks in str(caught.value)


def test_the_writer_is_the_process_that_lives(tmp_path: Path) -> None:
    assert writer(tmp_path) == 0
    with Ledger(tmp_path):
        assert writer(tmp_path) == os.getpid()
    assert writer(tmp_path) == 0
    code = (
        f"import os; from mergegraph.search.ledger import Ledger; Ledger(__import__('pathlib').Path({str(tmp_path)!r}))"
    )
    subprocess.run([sys.executable, "-c", f"{code}; os._exit(0)"], check=True)
    assert (tmp_path / LOCK).stat().st_size > 0, "it died holding the lock"
    assert writer(tmp_path) == 0
