"""The child that opens pickles: `python -m mergegraph.converting.child BYTES`.

It is asked in lines of JSON on its standard input and answers in lines of JSON on its standard output; to
`{"send": [...]}` it answers with the bytes of those tensors, one after another. It writes no file. Nobody unpickles
what it says.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from typing import Any, BinaryIO

from mergegraph.converting.archive import Refused
from mergegraph.converting.confine import leave_network, limit

CUT_SHORT = 74
"""Exit code where a mapped file has become shorter."""


def main(file_bytes: int) -> None:
    """Answer until the input ends. `file_bytes`: of the largest file that will be opened."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # a library that prints must not be taken for an answer
        network = leave_network()
        import torch

        torch.set_num_threads(1)
        _say(answers, {"torch": torch.__version__, "network": network, "limits": limit(file_bytes)})
        _answer(sys.stdin.buffer, answers)


def _answer(questions: BinaryIO, answers: BinaryIO) -> None:
    from mergegraph.converting.unpickle import Opened, content, facts, open_pickle

    opened = Opened({}, "", ())
    for line in questions:
        question: dict[str, Any] = json.loads(line)
        if "open" in question:
            opened = Opened({}, "", ())
            try:
                opened = open_pickle(question["open"], question["key"])
            except Refused as error:
                _say(answers, {"refused": [error.fact, error.why, error.fix]})
                continue
            tensors = {name: facts(tensor) for name, tensor in opened.tensors.items()}
            _say(answers, {"tensors": tensors, "under": opened.under, "left_out": opened.left_out})
        else:
            try:
                for name in question["send"]:
                    for piece in content(opened.tensors[name]):
                        answers.write(piece)
                answers.flush()
            except OSError as error:
                # A page of the file that is no longer there: the system finds out before this process does.
                os._exit(CUT_SHORT if error.errno == errno.EFAULT else 1)


def _say(answers: BinaryIO, answer: dict[str, object]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
