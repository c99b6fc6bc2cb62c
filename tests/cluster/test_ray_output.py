"""What Ray's threads print does not reach the streams of the command."""

from __future__ import annotations

import logging
import sys
import threading

import pytest

from mergegraph.cluster.ray_output import RaySaid, kept_apart


def in_a_thread(text: str, *, to_stderr: bool) -> None:
    thread = threading.Thread(target=lambda: print(text, file=sys.stderr if to_stderr else sys.stdout))
    thread.start()
    thread.join()


def test_only_the_thread_that_entered_writes(capsys: pytest.CaptureFixture[str]) -> None:
    with kept_apart() as said:
        in_a_thread("\x1b[33m(raylet)\x1b[0m A worker died" + "!" * 900, to_stderr=False)
        in_a_thread("gcs is gone", to_stderr=True)
        logging.getLogger("ray").warning("a token is %s", "missing")
        print("mine")
        print("mine too", file=sys.stderr)
        assert sys.stdout.isatty() is False
    written = capsys.readouterr()
    assert (written.out, written.err) == ("mine\n", "mine too\n")
    assert said.last == "a token is missing"
    in_a_thread("afterwards", to_stderr=False)
    assert capsys.readouterr().out == "afterwards\n"


def test_what_it_said_is_short_and_without_escapes() -> None:
    said = RaySaid()
    assert said.last == ""
    said.add("\x1b[33m(raylet)\x1b[0m A worker died" + "!" * 900 + "\n\n   \n")
    assert said.last.startswith("(raylet) A worker died!")
    assert len(said.last) == 200
    for number in range(1000):
        said.add(f"line {number}\n")
    assert said.last == "line 999"
