"""A bucket of moto's S3 server on loopback, in a process of its own, and what it takes to reach it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from urllib.request import urlopen

SECRET = "AKIASECRETSECRET"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip


@contextmanager
def serving() -> Generator[str]:
    """The endpoint of a running server."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "MOTO_CALL_RESET_API": "false"},
    )  # fmt: skip
    try:
        for _ in range(400):
            try:
                with urlopen(f"{endpoint}/moto-api/", timeout=1):
                    break
            except OSError:
                assert server.poll() is None, "moto's server ended"
                time.sleep(0.05)
        yield endpoint
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)
