"""Objects of S3, Google Cloud Storage and Azure, read by obstore (the extra `cloud`).

Every range is asked for with the ETag of the object that was planned, so one that was replaced is noticed. Credentials
are ambient: what AWS, Google and Azure read from the environment and their own files.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar
from urllib.parse import urlsplit

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.sources.location import scheme_of, shown
from mergegraph.tensors.sources.pieces import in_pieces
from mergegraph.tensors.sources.retry import GaveUp, Lasting, Passing, is_passing, retrying
from mergegraph.tensors.sources.source import Entry, Names
from mergegraph.tensors.sources.traffic import count

SCHEMES = ("s3", "gs", "az", "abfs", "abfss")
_PIECE_BYTES = 8 << 20
"""A range comes as an object of its own before it is copied, so a large one is asked for in pieces."""

T = TypeVar("T")

_lock = threading.Lock()
_stores: dict[tuple[str, str], Any] = {}


def bucket_and_key(location: str) -> tuple[str, str]:
    """`bucket`, `path/in/it` of `s3://bucket/path/in/it`."""
    parts = urlsplit(location)
    return parts.netloc, parts.path.strip("/")


def store_of(location: str) -> Any:
    """The obstore store of a location's bucket. InputError without the extra, and for what is no address."""
    if why := _malformed(location):
        raise InputError(_no_address(location, why))
    key = (scheme_of(location), bucket_and_key(location)[0])
    with _lock:
        if key not in _stores:
            _stores[key] = _store(*key)
        return _stores[key]


def _malformed(location: str) -> str:
    """Why no object can have this address; empty where one can."""
    try:
        bucket, key = bucket_and_key(location)
    except ValueError:
        return "its brackets are not closed"
    if not bucket:
        return "it names no bucket"
    if re.search(r"[\s:\[\]\\^|<>%\"`{}]", bucket):
        return f"{bucket} is no name of a bucket"
    if any(part in ("", ".", "..") for part in key.split("/")) and key:
        return "a part of its path is empty, . or .."
    return "it holds a control character" if re.search(r"[\x00-\x1f\x7f]", location) else ""


def _no_address(location: str, why: str) -> Problem:
    scheme = scheme_of(location)
    fix = f"write {scheme}://BUCKET/PREFIX, as {_LISTS.get(scheme, _LISTS['az'])} shows them"
    return Problem(f"{location!r} is no address of an object.", why=why, fix=fix)


_LISTS: Mapping[str, str] = {
    "s3": "`aws s3 ls`",
    "gs": "`gcloud storage ls`",
    "az": "`az storage container list`",
}


def server_name(location: str) -> str:
    """What traffic is counted under: `s3://bucket`."""
    return f"{scheme_of(location)}://{bucket_and_key(location)[0]}"


class Objects:
    """Lists what lies below a prefix."""

    def names(self, folder: str) -> Names:
        store, prefix = store_of(folder), bucket_and_key(folder)[1]
        count(server_name(folder), requests=1)
        listed: Any = tried(folder, lambda: obstore().list_with_delimiter(store, f"{prefix}/" if prefix else None))
        return {
            meta["path"].rpartition("/")[2]: Entry(meta["size"], meta.get("e_tag") or "") for meta in listed["objects"]
        }

    def entry(self, location: str) -> Entry | None:
        return None


class ObjectFile:
    """Ranges of one object, of the version that it was opened at."""

    may_be_kept = True

    def __init__(self, location: str) -> None:
        self.location = location
        self._store, self._key = store_of(location), bucket_and_key(location)[1]
        count(server_name(location), requests=1)
        meta: Any = tried(location, lambda: obstore().head(self._store, self._key))
        self.file_bytes: int = meta["size"]
        self._etag: str = meta.get("e_tag") or ""
        version: str | None = meta.get("version")
        named = f"{scheme_of(location)}:{location.partition('://')[2]}"
        self.identity = f"{named}:etag={self._etag}" + (f";v={version}" if version else "")

    def read_into(self, offset: int, buffer: memoryview) -> None:
        in_pieces(offset, buffer, self._read, _PIECE_BYTES)

    def _read(self, offset: int, buffer: memoryview) -> None:
        tried(self.location, lambda: self._attempt(offset, buffer))

    def _attempt(self, offset: int, buffer: memoryview) -> None:
        options: dict[str, Any] = {"range": (offset, offset + len(buffer))}
        if self._etag:
            options["if_match"] = self._etag
        server = server_name(self.location)
        count(server, requests=1)
        reply: Any = obstore().get(self._store, self._key, options=options)
        _check(reply, offset, buffer, self.file_bytes, self._etag)
        done = 0
        for chunk in reply.stream(min_chunk_size=1 << 20):
            view = memoryview(chunk)
            if done + len(view) > len(buffer):
                raise Lasting(f"more than the {len(buffer):,} bytes that were asked for came")
            buffer[done : done + len(view)] = view
            done += len(view)
        count(server, body_bytes=done)
        if done < len(buffer):
            raise Passing(f"the body ended early: {done:,} of {len(buffer):,} bytes came")


def _check(reply: Any, offset: int, buffer: memoryview, file_bytes: int, etag: str) -> None:
    if tuple(reply.range) != (offset, offset + len(buffer)):
        raise Lasting(f"it sent bytes {tuple(reply.range)}, {(offset, offset + len(buffer))} were asked for")
    if reply.meta["size"] != file_bytes:
        raise Lasting(f"the object has {reply.meta['size']:,} bytes now, {file_bytes:,} were planned", 412)
    now = reply.meta.get("e_tag") or ""
    if etag and now and now != etag:
        raise Lasting(f"its ETag is {now} now, {etag} was planned", 412)


def tried(location: str, attempt: Callable[[], T]) -> T:
    """What `attempt` gives, tried again where that may help. InputError says what to do."""
    try:
        return retrying(server_name(location), lambda: _translated(attempt))
    except GaveUp as failure:
        raise InputError(_unreachable(location, failure)) from failure
    except Lasting as failure:
        raise InputError(_refused(location, failure)) from failure


def _translated(attempt: Callable[[], T]) -> T:
    """obstore's exceptions as ours. Their text holds addresses and request ids, and is not shown."""
    exceptions = obstore().exceptions
    try:
        return attempt()
    except (exceptions.NotFoundError, FileNotFoundError) as error:
        raise Lasting("there is no such object", 404) from error
    except exceptions.PreconditionError as error:
        raise Lasting("another object was put in its place", 412) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise Lasting("the credentials that are set may not read it", 403) from error
    except exceptions.NotSupportedError as error:
        raise Lasting("the server ignores ranges", 200) from error
    except exceptions.AlreadyExistsError as error:
        raise Lasting("it exists", 409) from error
    except exceptions.BaseError as error:
        raise _judged(str(error)) from error


def _judged(text: str) -> Passing | Lasting:
    """What an error without a class of its own means."""
    if "NoSuchBucket" in text:
        return Lasting("there is no such bucket", 404)
    if "PermanentRedirect" in text or "region" in text.lower():
        return Lasting("the bucket is in another region than AWS_REGION says")
    stated = re.search(r"status:? (\d{3})", text)
    if stated is not None and not is_passing(int(stated[1])):
        return Lasting(f"it answered {stated[1]}", int(stated[1]))
    if stated is None and ("redentials" in text or "169.254.169.254" in text):
        return Lasting("no credentials are set", 401)
    return Passing(f"it answered {stated[1]}" if stated else "the service failed, or the connection to it")


def _refused(location: str, failure: Lasting) -> Problem:
    if failure.status == 412:
        again = "run the same command again with --overwrite: it begins again with the object as it is now"
        return Problem(f"{location} has changed since it was planned.", why=failure.what, fix=again)
    why = ""
    if failure.status in (401, 403) and scheme_of(location) == "s3" and not os.environ.get("AWS_ACCESS_KEY_ID"):
        why = "AWS_ACCESS_KEY_ID is not set, so the credentials are those of a profile or of this machine, or none"
    return Problem(f"{location} cannot be read: {failure.what}.", why=why, fix=_fix(location, failure.status))


def _fix(location: str, status: int) -> str:
    scheme, (bucket, key) = scheme_of(location), bucket_and_key(location)
    if status in (401, 403):
        return _CREDENTIALS.get(scheme, _CREDENTIALS["az"])
    if scheme == "s3":
        return f"see what is there: aws s3 ls s3://{bucket}/{key.rpartition('/')[0]}"
    return (
        f"see what is there: gcloud storage ls gs://{bucket}/" if scheme == "gs" else "check the container and the name"
    )


_CREDENTIALS: Mapping[str, str] = {
    "s3": "export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… AWS_REGION=…, or AWS_SKIP_SIGNATURE=true for public ones",
    "gs": "export GOOGLE_APPLICATION_CREDENTIALS=FILE, or: gcloud auth application-default login",
    "az": "export AZURE_STORAGE_ACCOUNT_NAME=… AZURE_STORAGE_ACCOUNT_KEY=…, or AZURE_USE_AZURE_CLI=true and az login",
}


def _unreachable(location: str, failure: GaveUp) -> Problem:
    variable, endpoint = _endpoint() if scheme_of(location) == "s3" else ("", "")
    why, fix = f"{failure.what}, {failure.tries} times in a row", "run the same command again; what is finished is kept"
    if endpoint:
        why = f"{why}; {variable} says that it is {shown(endpoint)}"
        fix = f"see whether it answers: curl -I {shown(endpoint)}, then run the same command again"
    fact = f"{location} cannot be read: {server_name(location)} does not answer as it should."
    return Problem(fact, why=why, fix=fix)


def _endpoint() -> tuple[str, str]:
    """The address of the S3 service that is used in place of AWS, and the variable that gives it."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return next(((name, said) for name in names if (said := os.environ.get(name))), ("", ""))


def _store(scheme: str, bucket: str) -> Any:
    obstore(f"{scheme}://{bucket}")
    # Failures are tried again here, where they are counted and 429 is honoured.
    settings: dict[str, Any] = {"retry_config": {"max_retries": 1}}
    endpoint = _endpoint()[1]
    if scheme == "s3":
        if endpoint:
            settings["endpoint"] = endpoint
        if endpoint.startswith("http://"):
            settings["client_options"] = {"allow_http": True}
        if (provider := _profile_credentials()) is not None:
            settings["credential_provider"] = provider
    try:
        return import_module("obstore.store").from_url(f"{scheme}://{bucket}", **settings)
    except ValueError as error:
        raise InputError(_no_address(f"{scheme}://{bucket}", "obstore cannot read it")) from error


def obstore(wanted_for: str = "") -> Any:
    """The package. InputError where it is not installed."""
    try:
        return import_module("obstore")
    except ImportError as error:
        raise InputError(missing_extra(wanted_for)) from error


def _profile_credentials() -> Any:
    """boto3's chain (profiles, SSO), where it is installed and no key stands in the environment."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_SKIP_SIGNATURE"):
        return None
    try:
        boto3 = import_module("boto3")
    except ImportError:
        return None
    try:
        session = boto3.Session()
        if session.get_credentials() is None:
            return None
    except import_module("botocore.exceptions").BotoCoreError as error:
        profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
        fact = f"The AWS profile {profile} gives no credentials."
        fix = "see which there are: aws configure list-profiles, then export AWS_PROFILE=NAME"
        raise InputError(Problem(fact, why=str(error), fix=fix)) from error
    return import_module("obstore.auth.boto3").Boto3CredentialProvider(session)


def missing_extra(location: str) -> Problem:
    """The package that reads a location is not installed."""
    return Problem(
        f"{location} needs a package that is not installed: obstore.",
        why="object stores are an extra of mergegraph",
        fix='pip install "mergegraph[cloud]"',
    )
