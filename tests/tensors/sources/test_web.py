"""Any web server: nginx with and without ranges, redirects, and what an address may not hold."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.request import urlopen

import pytest

from mergegraph.errors import InputError, RunError
from mergegraph.tensors.checkpoint import open_checkpoint
from mergegraph.tensors.sources.hub_names import hub_name
from mergegraph.tensors.sources.location import is_remote, joined, name_of, parent_of, shown
from mergegraph.tensors.sources.pieces import in_pieces
from mergegraph.tensors.sources.retry import GaveUp, Passing, asked_to_wait, hurry, retrying
from tests.tensors.sources.object_server import free_port
from tests.tensors.sources.test_hub import read_all
from tests.tiny_models import llama_tensors, write_model

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location /files/ {{ alias {served}/; }}
    location /no-ranges/ {{ alias {served}/; max_ranges 0; }}
    location /slow/ {{ alias {served}/; limit_rate 200k; }}
    location /elsewhere/ {{ rewrite ^/elsewhere/(.*)$ http://localhost:{port}/files/$1 redirect; }}
    location /closed/ {{ return 403; }}
    location /limited/ {{ return 429; }}
    location /astray/ {{ return 302 "http://[::1/m.safetensors"; }}
    location /spaced/ {{ return 302 "http://127.0.0.1/m m.safetensors"; }}
    location /ftp/ {{ return 302 "ftp://127.0.0.1/m.safetensors"; }}
  }}
}}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    write_model(folder / "m", llama_tensors(), config={"model_type": "llama"}, shards=2)
    write_model(folder / "one", llama_tensors())
    return folder


@pytest.fixture(scope="module")
def nginx(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    if NGINX is None:
        pytest.skip("nginx is not installed (apt-get install nginx)")
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, port=port, served=served))
    # nginx run by root reads as another user, who may not enter pytest's folders.
    text = (folder / "nginx.conf").read_text()
    (folder / "nginx.conf").write_text(f"user root;{text}" if Path("/root").owner() == Path.home().owner() else text)
    running = subprocess.Popen(
        [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(100):
            try:
                with urlopen(f"http://127.0.0.1:{port}/files/one/model.safetensors", timeout=1):
                    break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(10)


GOOD = [
    ("/files/m", "m", "a folder with an index"),
    ("/files/m/", "m", "a folder with a slash at its end"),
    ("/files/one/model.safetensors", "one/model.safetensors", "one file"),
    ("/slow/one/model.safetensors", "one/model.safetensors", "a slow server"),
    ("/elsewhere/m", "m", "a redirect to another host"),
]


@pytest.mark.parametrize(("path", "local", "_reason"), GOOD, ids=[row[2] for row in GOOD])
def test_a_model_is_read_by_ranges(
    nginx: str, served: Path, tmp_path: Path, path: str, local: str, _reason: str
) -> None:
    checkpoint = open_checkpoint(nginx + path, tmp_path)
    assert read_all(checkpoint) == read_all(open_checkpoint(str(served / local), tmp_path))
    assert all(file.identity.startswith(f"http:{file.path.removeprefix('http://')}:etag=") for file in checkpoint.files)


BAD = [
    ("/no-ranges/big/model.safetensors", "ignores ranges", "no ranges"),
    ("/closed/m", "403 Forbidden", "forbidden"),
    ("/limited/m", "429 Too Many Requests, 6 times in a row", "limited"),
    ("/files/nothing", "has no .safetensors file", "an empty folder"),
    ("/files/nothing", "was asked for model.safetensors.index.json", "nothing lists what a web server has"),
    ("/files/nothing.safetensors", "404 Not Found", "no such file"),
    ("/astray/m.safetensors", "redirects to what is no address", "a redirect to half an address"),
    ("/spaced/m.safetensors", "redirects to what is no address", "a redirect to an address with a space"),
    ("/ftp/m.safetensors", "redirects to ftp://", "a redirect to another protocol"),
]


@pytest.mark.parametrize(("path", "said", "_reason"), BAD, ids=[row[2] for row in BAD])
def test_what_is_refused(nginx: str, served: Path, tmp_path: Path, path: str, said: str, _reason: str) -> None:
    write_model(served / "big", llama_tensors(hidden=64, vocab=512))
    with pytest.raises(InputError, match=said):
        open_checkpoint(nginx + path, tmp_path)


def test_a_file_that_changed_is_noticed(nginx: str, served: Path, tmp_path: Path) -> None:
    write_model(served / "changing", llama_tensors(seed=1))
    checkpoint = open_checkpoint(f"{nginx}/files/changing", tmp_path)
    time.sleep(1.1)  # nginx makes its ETag of the second and the length
    write_model(served / "changing", llama_tensors(seed=2))
    with pytest.raises(RunError, match="has changed since it was planned"):
        read_all(checkpoint)


SECRETS = [
    ("https://host/m.safetensors?X-Amz-Signature=abc", "abc", "a signature"),
    ("https://me:abc@host/m", "abc", "a password"),
    ("s3://bucket/m?token=abc", "abc", "a query of a bucket"),
    ("https://host/m#abc", "abc", "a fragment"),
    ("ssh://me:abc@host/m", "abc", "a password for another scheme"),
    ("sftp://me:abc@host/m", "abc", "a password for another scheme, again"),
]


@pytest.mark.parametrize(("reference", "secret", "_reason"), SECRETS, ids=[row[2] for row in SECRETS])
def test_an_address_with_a_secret_is_refused_without_it(
    tmp_path: Path, reference: str, secret: str, _reason: str
) -> None:
    with pytest.raises(InputError) as caught:
        open_checkpoint(reference, tmp_path)
    assert "was given with a query or a password" in str(caught.value)
    assert secret not in str(caught.value)


MALFORMED = [
    ("http://[::1", "is no address of the web", "a bracket is not closed"),
    ("http://[::1/m", "is no address of the web", "a bracket is not closed"),
    ("http://ho st/m", "is written %20", "a space in the host"),
    ("https://host/a b.safetensors", "is written %20", "a space in the path"),
    ("https://host/\u00fc.safetensors", "is written %C3%BC", "a letter that must be written in another way"),
    ("http://host:99999/m", "port out of range", "no such port"),
    ("http:///m", "names no server", "no host"),
    ("s3://[::1/m", "brackets are not closed", "a bucket"),
    ("s3://bu cket/m", "no name of a bucket", "a space in a bucket"),
]


@pytest.mark.parametrize(("reference", "said", "_reason"), MALFORMED, ids=[ascii(row[0]) for row in MALFORMED])
def test_what_is_no_address_is_said(tmp_path: Path, reference: str, said: str, _reason: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        open_checkpoint(reference, tmp_path)
    assert caught.value.problems[0].fix


def test_a_malformed_address_is_no_name_on_the_hub() -> None:
    assert hub_name("http://[::1") is None


class Dated(BaseHTTPRequestHandler):
    """A server without ETags, whose file is replaced by another of the same length after some requests."""

    replaced_after: ClassVar[int]
    honours_condition: ClassVar[bool]
    requests: ClassVar[int]
    before: ClassVar[bytes]
    after: ClassVar[bytes]

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        kind = type(self)
        kind.requests += 1
        is_new = kind.requests > kind.replaced_after
        content = kind.after if is_new else kind.before
        modified = "Tue, 24 Nov 2026 10:00:01 GMT" if is_new else "Tue, 24 Nov 2026 10:00:00 GMT"
        if not self.path.endswith("/model.safetensors"):
            self.send_error(404)
            return
        condition = self.headers.get("If-Unmodified-Since")
        if kind.honours_condition and condition is not None and condition != modified:
            self.send_error(412)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(wanted[1]), int(wanted[2])) if wanted else (0, len(content) - 1)
        self.send_response(206 if wanted else 200)
        self.send_header("Last-Modified", modified)
        self.send_header("Content-Length", str(last - first + 1))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if with_body:
            self.wfile.write(content[first : last + 1])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def dated(tmp_path: Path) -> Generator[str]:
    for seed, name in enumerate(("before", "after")):
        folder = write_model(tmp_path / name, llama_tensors(seed=seed, hidden=64, vocab=512))
        setattr(Dated, name, (folder / "model.safetensors").read_bytes())
    assert len(Dated.before) == len(Dated.after)
    Dated.requests = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Dated) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/model.safetensors"
        server.shutdown()
        thread.join()


MIDWAY = [
    (3, True, "the server itself compares the time"),
    (3, False, "the reply has another time, right after the header was read"),
    (5, False, "some tensors are read already"),
]


@pytest.mark.parametrize(("replaced_after", "honours", "_reason"), MIDWAY, ids=[row[2] for row in MIDWAY])
def test_a_file_without_an_etag_that_changes_midway_is_noticed(
    dated: str, tmp_path: Path, replaced_after: int, honours: bool, _reason: str
) -> None:
    Dated.replaced_after, Dated.honours_condition = 10_000, honours
    checkpoint = open_checkpoint(dated, tmp_path)
    assert all("modified=Tue, 24 Nov 2026 10:00:00 GMT" in file.identity for file in checkpoint.files)
    whole = read_all(checkpoint)
    Dated.replaced_after = Dated.requests + replaced_after
    with pytest.raises(RunError, match="has changed since it was planned"):
        assert [read_all(checkpoint) for _ in range(replaced_after + 1)] == [whole] * (replaced_after + 1)


LOCATIONS = [
    ("s3://b/p/x", True, "s3://b/p", "x", "a key"),
    ("hf://o/n@abc/x.json", True, "hf://o/n@abc", "x.json", "a file of the Hub"),
    ("/a/b://c", False, "/a/b:/", "c", "a path with what looks like a scheme"),
    ("./m", False, ".", "m", "a relative path"),
]


@pytest.mark.parametrize(("location", "remote", "parent", "name", "_reason"), LOCATIONS, ids=[r[4] for r in LOCATIONS])
def test_locations(location: str, remote: bool, parent: str, name: str, _reason: str) -> None:
    assert is_remote(location) is remote
    assert name_of(location) == name
    if remote:
        assert parent_of(location) == parent
        assert joined(parent, name) == location == shown(location)


@pytest.mark.parametrize("length", [0, 1, 16, 17, 48, 50])
def test_a_long_range_is_read_in_pieces(length: int) -> None:
    content = bytes(range(100))
    asked: list[tuple[int, int]] = []

    def read(offset: int, buffer: memoryview) -> None:
        asked.append((offset, len(buffer)))
        buffer[:] = content[offset : offset + len(buffer)]

    buffer = bytearray(length)
    in_pieces(7, memoryview(buffer), read, 16)
    assert buffer == content[7 : 7 + length]
    assert len(asked) == -(-length // 16)
    assert all(0 < count <= 16 for _, count in asked)


WAITS = [
    ({"Retry-After": "7"}, 7.0, "seconds"),
    ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0, "a date that is past"),
    ({"RateLimit": '"resolvers";r=0;t=55'}, 55.0, "the Hub's window is used up"),
    ({"RateLimit": '"resolvers";r=10;t=55'}, None, "there is room in the window"),
    ({"Retry-After": "soon"}, None, "no number"),
    ({}, None, "nothing is said"),
]


def test_whoever_wants_to_stop_waits_for_nobody() -> None:
    def attempt() -> None:
        raise Passing("it answered 503", 300.0)

    hurry(True)
    try:
        with pytest.raises(GaveUp) as caught:
            retrying("host", attempt)
    finally:
        hurry(False)
    assert caught.value.tries == 1


@pytest.mark.parametrize(("headers", "seconds", "_reason"), WAITS, ids=[row[2] for row in WAITS])
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None, _reason: str) -> None:
    assert asked_to_wait(headers) == seconds
