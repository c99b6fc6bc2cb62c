"""A small Hub on two loopback servers: the API with resolve, and the server that holds the bytes of LFS files.

The second is reached under another host name, as the real one is. Faults are switched on by name for a number of
requests; what each server was asked for is written down, headers included.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_secrettoken"
LFS = (".safetensors", ".bin")


@dataclass
class Repo:
    """A repository: commits by revision, files by commit."""

    revisions: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def commit(self, folder: Path, revision: str = "main") -> str:
        files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        listed = "".join(f"{name}:{hashlib.sha1(content).hexdigest()}" for name, content in files.items())
        commit = hashlib.sha1(listed.encode()).hexdigest()
        self.files[commit], self.revisions[revision] = files, commit
        return commit


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]


class HubServer:
    """`faults`: name to how many requests it still spoils. `signature` is what a signed address must carry now; after
    `fails_after` requests for bytes, the server of bytes fails for good."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults: dict[str, int] = {}
        self.asked: dict[str, list[Asked]] = {"hub": [], "cdn": []}
        self.body_bytes = {"hub": 0, "cdn": 0}
        self.signature = 1
        self.fails_after: int | None = None
        self.uploads: dict[str, bytes] = {}
        self.commits: list[dict[str, Any]] = []
        self.created: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._hub = self._serving("hub")
        self._cdn = self._serving("cdn")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._hub.server_port}"

    @property
    def cdn(self) -> str:
        return f"http://localhost:{self._cdn.server_port}"

    def takes(self, fault: str) -> bool:
        """Whether this request is spoilt."""
        with self._lock:
            left = self.faults.get(fault, 0)
            if left:
                self.faults[fault] = left - 1
            return left > 0

    def requests(self, server: str, method: str = "GET") -> int:
        return sum(each.method == method for each in self.asked[server])

    def reset(self) -> None:
        for server in self.asked:
            self.asked[server].clear()
            self.body_bytes[server] = 0

    def close(self) -> None:
        for server in (self._hub, self._cdn):
            server.shutdown()
            server.server_close()

    def _serving(self, kind: str) -> ThreadingHTTPServer:
        handler = type(kind, (_Cdn if kind == "cdn" else _Hub,), {"hub": self, "kind": kind})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer
    kind: str

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _note(self) -> None:
        self.hub.asked[self.kind].append(
            Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        )

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.hub.body_bytes[self.kind] += len(body)

    def _json(self, value: object, status: int = 200, **headers: str) -> None:
        self._send(status, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def _content(self, content: bytes, **headers: str) -> None:
        """A file, or the range of it that is asked for; spoilt as the faults say."""
        asked = self.headers.get("Range")
        if asked is None or self.hub.takes("ignore-range"):
            spoilt = bytes([content[0] ^ 1]) + content[1:] if self.hub.takes("flip") else content
            self._send(200, spoilt, **headers)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
        body = content[begin : end + 1]
        if self.hub.takes("flip"):
            body = bytes([body[0] ^ 1]) + body[1:]
        whole = len(content) + (7 if self.hub.takes("other-length") else 0)
        shift = 8 if self.hub.takes("other-range") else 0
        headers["Content_Range"] = f"bytes {begin + shift}-{end + shift}/{whole}"
        if self.hub.takes("slow"):
            time.sleep(0.3)
        if self.hub.takes("short"):
            self.close_connection = True
            self._send(206, body[: len(body) // 2], Content_Length=str(len(body)), **headers)
            return
        self._send(206, body, **headers)


class _Cdn(_Handler):
    """Holds LFS files under their sha256; an address is signed."""

    def do_GET(self) -> None:
        self._note()
        parts = urlsplit(self.path)
        signed = parse_qs(parts.query).get("Signature", [""])[0]
        if self.hub.takes("reset"):
            self.close_connection = True
            self.connection.close()
            return
        if self.hub.fails_after is not None and self.hub.requests("cdn") > self.hub.fails_after:
            self._send(503, b"later", Retry_After="0")
            return
        for status in (429, 503):
            if self.hub.takes(str(status)):
                self._send(status, b"later", Retry_After="0")
                return
        if signed != str(self.hub.signature):
            self._send(403, b"expired")
            return
        oid = parts.path.strip("/")
        for repo in self.hub.repos.values():
            for files in repo.files.values():
                for content in files.values():
                    if hashlib.sha256(content).hexdigest() == oid:
                        self._content(content, ETag=f'"{hashlib.md5(content).hexdigest()}"')
                        return
        self._send(404)

    def do_PUT(self) -> None:
        self._note()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.uploads[urlsplit(self.path).path.strip("/")] = body
        self._send(200)


class _Hub(_Handler):
    """The part of the API that huggingface_hub needs to read, and to make a commit."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self._note()
        if self.hub.takes("api-503"):
            self._send(503, b"later", Retry_After="0")
            return
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[0] == "api" and parts[1] == "models":
            self._api("/".join(parts[2:4]), parts[4:])
        elif parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._send(404)

    def _repo(self, repo_id: str) -> Repo | None:
        repo = self.hub.repos.get(repo_id)
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo is None or (repo.private and not known):
            self._json({"error": "Repository not found"}, 401 if not known else 404, X_Error_Code="RepoNotFound")
            return None
        return repo

    def _commit(self, repo: Repo, revision: str) -> str | None:
        commit = repo.revisions.get(revision, revision)
        if commit not in repo.files:
            self._json({"error": f"Invalid rev id: {revision}"}, 404, X_Error_Code="RevisionNotFound")
            return None
        return commit

    def _api(self, repo_id: str, rest: list[str]) -> None:
        repo = self._repo(repo_id)
        if repo is None:
            return
        if rest[:1] == ["refs"]:
            branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repo.revisions.items()]
            self._json({"branches": branches, "tags": [], "converts": []})
            return
        revision = rest[1] if len(rest) > 1 else "main"
        commit = self._commit(repo, revision)
        if commit is None:
            return
        if rest[:1] == ["tree"]:
            self._tree(repo.files[commit], "/".join(rest[2:]))
            return
        siblings = [{"rfilename": name} for name in repo.files[commit]]
        self._json({"id": repo_id, "sha": commit, "siblings": siblings, "private": repo.private, "gated": repo.gated})

    def _tree(self, files: dict[str, bytes], folder: str) -> None:
        prefix = f"{folder}/" if folder else ""
        inside = {name: content for name, content in files.items() if name.startswith(prefix)}
        if not inside:
            self._json({"error": "not found"}, 404, X_Error_Code="EntryNotFound")
            return
        recursive = "recursive=true" in self.path.lower()
        listed: list[dict[str, Any]] = []
        for name, content in inside.items():
            below = name.removeprefix(prefix)
            if "/" in below and not recursive:
                listed.append({"type": "directory", "path": prefix + below.split("/")[0], "oid": "0" * 40, "size": 0})
                continue
            entry = {"type": "file", "path": name, "size": len(content), "oid": git_oid(content)}
            if name.endswith(LFS):
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            listed.append(entry)
        self._json([each for at, each in enumerate(listed) if each not in listed[:at]])

    def _resolve(self, repo_id: str, revision: str, path: str) -> None:
        repo = self._repo(repo_id)
        if repo is None:
            return
        if repo.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "gated"}, 403, X_Error_Code="GatedRepo")
            return
        commit = self._commit(repo, revision)
        if commit is None:
            return
        content = repo.files[commit].get(path)
        if content is None:
            self._json({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        if not path.endswith(LFS):
            self._content(content, ETag=f'"{git_oid(content)}"', X_Repo_Commit=commit)
            return
        oid = hashlib.sha256(content).hexdigest()
        self._send(
            302, Location=f"{self.hub.cdn}/{oid}?Signature={self.hub.signature}", X_Repo_Commit=commit,
            X_Linked_Etag=f'"{oid}"', X_Linked_Size=str(len(content)),
        )  # fmt: skip

    def do_POST(self) -> None:
        self._note()
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "no token"}, 401)
        elif parts[:3] == ["api", "repos", "create"]:
            self._create(json.loads(raw))
        elif parts == ["api", "validate-yaml"]:
            self._json({"errors": [], "warnings": []})
        elif "preupload" in parts:
            files = json.loads(raw)["files"]
            mode = [{"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LFS) else "regular"} for f in files]
            self._json({"files": [{**each, "shouldIgnore": False} for each in mode]})
        elif parts[-2:] == ["objects", "batch"]:
            objects = json.loads(raw)["objects"]
            upload = [{**o, "actions": {"upload": {"href": f"{self.hub.cdn}/{o['oid']}"}}} for o in objects]
            self._json({"transfer": "basic", "objects": upload})
        elif "commit" in parts:
            self._committed("/".join(parts[2:4]), parts[-1], [json.loads(line) for line in raw.splitlines()])
        elif "branch" in parts:
            repo = self.hub.repos["/".join(parts[2:4])]
            repo.revisions[parts[-1]] = repo.revisions.get("main", "")
            self._json({})
        else:
            self._send(404)

    def _create(self, wanted: dict[str, Any]) -> None:
        self.hub.created.append(wanted)
        repo_id = f"{wanted['organization']}/{wanted['name']}"
        status = 409 if repo_id in self.hub.repos else 200
        self.hub.repos.setdefault(
            repo_id, Repo(private=wanted.get("visibility") == "private" or bool(wanted.get("private")))
        )
        self._json({"url": f"{self.hub.endpoint}/{repo_id}", "id": repo_id}, status)

    def _committed(self, repo_id: str, revision: str, lines: list[dict[str, Any]]) -> None:
        self.hub.commits.append({"repo": repo_id, "revision": revision, "lines": lines})
        repo = self.hub.repos[repo_id]
        files = dict(repo.files.get(repo.revisions.get(revision, ""), {}))
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
        commit = hashlib.sha1(json.dumps(lines).encode()).hexdigest()
        repo.files[commit], repo.revisions[revision] = files, commit
        url = f"{self.hub.endpoint}/{repo_id}/commit/{commit}"
        self._json({"commitUrl": url, "commitOid": commit, "hookOutput": ""})


def git_oid(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@contextmanager
def serving() -> Generator[HubServer]:
    server = HubServer()
    try:
        yield server
    finally:
        server.close()
