"""Where outputs go, and what they may not touch: inputs, and each other.

One that goes to an object store is made in a staging folder first, which is the same whenever the same is asked for.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath

from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.graph import GraphNode
from mergegraph.methods.save import Save
from mergegraph.plan.plan import Output
from mergegraph.resolve import Resolved, ResolvedNode
from mergegraph.tensors.completed import PROVENANCE
from mergegraph.tensors.partial import is_partial
from mergegraph.tensors.sources.hub_names import hub_name
from mergegraph.tensors.sources.location import restored, scheme_of
from mergegraph.tensors.sources.place import Place, RemotePath

_LONGEST_NAME = 240
"""Bytes; file systems take 255, and `.partial` is added."""
_BUCKET = re.compile(r"(s3|gs|az):/{1,2}([^/?#]+/[^?#]*[^/?#][^?#]*)")
_PAGES = (
    (re.compile(r"https?://([^/]+)\.s3[.-][^/]*amazonaws\.com/(.*)"), "s3"),
    (re.compile(r"https?://s3[.-][^/]*amazonaws\.com/([^/]+)/(.*)"), "s3"),
    (re.compile(r"https?://([^/]+)\.storage\.googleapis\.com/(.*)"), "gs"),
    (re.compile(r"https?://storage\.(?:googleapis|cloud\.google)\.com/([^/]+)/(.*)"), "gs"),
    (re.compile(r"https?://[^/]+\.(?:blob|dfs)\.core\.windows\.net/([^/]+)/(.*)"), "az"),
)
"""Where objects are also to be had: bucket and key in the addresses of their services."""
STAGING = "MERGEGRAPH_STAGING"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/.*")
"""With one slash as well: a path on the command line has lost its second."""


def output_paths(
    resolved: Resolved, output: Path | None, found: list[Problem], *, may_lack_path: bool
) -> dict[str, Path]:
    """Where each save goes, absolute; none for a save whose path is in `found`. `-o` needs exactly one save."""
    paths: dict[str, Path] = {}
    saves = resolved.graph.saves
    if output is not None and len(saves) != 1:
        found.append(
            Problem(
                f"-o gives one path, and the recipe has {len(saves)} saves.",
                why=", ".join(saves),
                fix="give each save its own `path:`, or `skip: true` the others",
            )
        )
        return paths
    for name in saves:
        node = resolved.nodes[name].node
        method = node.method
        assert isinstance(method, Save)
        wanted = str(output) if output is not None else method.path
        if goal := _destination(wanted):
            paths[name] = staging_folder(goal)
            continue
        folder = Path.cwd() if output is not None else node.source.folder
        problem = "it is the folder that you are in" if output == Path() else _unusable(wanted, folder)
        if wanted and problem:
            found.append(Problem(f"{restored(wanted)!r} cannot be an output path: {problem}.",
                                 at=node.source.where(("path",)), node=name,
                                 fix=_instead(wanted, resolved.graph.recipe.name, output is not None)))  # fmt: skip
        elif wanted:
            paths[name] = Path(os.path.normpath(folder / Path(wanted).expanduser()))
        else:
            found.append(Problem("The save has no path.", at=node.at, node=name, fix="add `path: out/NAME`, or -o DIR",
                                 severity="warning" if may_lack_path else "error"))  # fmt: skip
    return paths


def destinations(resolved: Resolved, output: Path | None) -> dict[str, str]:
    """The URI of every save that goes to an object store."""
    wanted: dict[str, str] = {}
    for name in resolved.graph.saves:
        method = resolved.nodes[name].node.method
        assert isinstance(method, Save)
        if goal := _destination(str(output) if output is not None else method.path):
            wanted[name] = goal
    return wanted


def _destination(path: str) -> str:
    """`s3://bucket/prefix`; "" for a folder of this machine. A path on the command line has lost a slash."""
    matched = _BUCKET.fullmatch(path)
    if matched is None or not {"", ".", ".."}.isdisjoint(matched[2].rstrip("/").split("/")):
        return ""
    return f"{matched[1]}://{matched[2].rstrip('/')}"


def staging_folder(destination: str) -> Path:
    """Where an output is made before it goes to `destination`: below `MERGEGRAPH_STAGING`, or the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - `~` of nobody stays
    below = os.environ.get(STAGING) or f"{cache}/mergegraph/staging"
    named = re.sub(r"[^\w.-]", "-", destination.rpartition("/")[2])[:80] or "output"
    return Path(os.path.abspath(below)) / f"{named}-{hashlib.sha256(destination.encode()).hexdigest()[:8]}"  # noqa: PTH100


def require_shared_staging(outputs: Iterable[Output]) -> None:
    """RecipeError where machines are to make an output of a bucket together, and no folder that all see is set."""
    for output in outputs:
        if output.destination and not os.environ.get(STAGING):
            why = f"it is put together in {output.path.parent}, which is another folder on every machine"
            fix = f"export {STAGING}=FOLDER, one that every machine sees, the same for `run` and `finalize`"
            fact = f"Several machines cannot make {output.destination} as it is."
            raise RecipeError(Problem(fact, at=output.at, node=output.node, why=why, fix=fix))


def _instead(path: str, recipe: str, is_option: bool) -> str:
    """What to type for a path that can be no output's."""
    hub = hub_name(restored(path)) if _URL.fullmatch(path) else None
    if hub is None:
        return f"name a folder to make, as in out/{recipe}"
    folder = f"out/{hub.repo.rpartition('/')[2]}"
    option = f"-o {folder}" if is_option else f"path: {folder}"
    return f"{option}, then mergegraph push {folder} {hub.repo}"


def _unusable(path: str, folder: Path) -> str:
    """Why a path, relative to `folder`, can be no output's; empty for one that can be."""
    if _URL.fullmatch(path):
        return "outputs are local folders, or s3://BUCKET/PREFIX (gs://, az://); `mergegraph push` puts one on the Hub"
    if "\0" in path:
        return "it holds a NUL character"
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in Path(path).parts):
        return f"a name in it is longer than {_LONGEST_NAME} bytes"
    try:
        place = Path(os.path.normpath(folder / Path(path).expanduser()))
    except RuntimeError:
        return f"there is no home folder of {path.split('/')[0]}"
    if is_partial(place):
        return "names that end in .partial are those of outputs that are not finished"
    try:
        is_root = not place.resolve().name
    except (OSError, RuntimeError):
        return "its links lead in a circle"
    return "it is the root of the file system" if is_root else ""


def overlaps(resolved: Resolved, paths: Mapping[str, Path]) -> Iterator[Problem]:
    """Outputs that would touch an input, each other, or one that an earlier run made."""
    inputs = {place.resolve(): node.node for node in resolved.nodes.values() if (place := _read_from(node)) is not None}
    places = {name: path.resolve() for name, path in paths.items()}
    for name, path in paths.items():
        at = resolved.nodes[name].node.source.where(("path",))
        if not any(folder in places[name].parents for folder in inputs):
            yield from _inside_output(name, path, places[name], at)
        for folder, load in inputs.items():
            used = (places[name], _partial(places[name]))
            meeting = [_overlap(name, str(path), real, str(folder), folder, load, at) for real in used]
            yield from [problem for problem in meeting if problem is not None][:1]
        for earlier in list(paths)[: list(paths).index(name)]:
            if _meet(places[earlier], places[name]):
                yield Problem(
                    f'Two saves meet on disk: "{earlier}" and "{name}".', at=at, node=name,
                    why=f"{paths[earlier]} and {path}", fix="give one of them a `path:` beside the other's",
                )  # fmt: skip


def _inside_output(save: str, path: Path, real: Path, at: Location) -> Iterator[Problem]:
    # os.path, as what may not be looked into is nobody's output.
    outer = next((place for place in real.parents if os.path.exists(place / PROVENANCE)), None)  # noqa: PTH110
    if outer is not None:
        beside = outer.with_name("-".join((outer.name, *real.relative_to(outer).parts)))
        yield Problem(
            f"The output lies inside another output: {outer}", at=at, node=save,
            why=f"with {path} in it, that one could not be overwritten, and `verify` would warn of it",
            fix=f"choose a path beside it: {beside}",
        )  # fmt: skip


def bucket_overlaps(resolved: Resolved, goals: Mapping[str, str]) -> Iterator[Problem]:
    """Outputs in object stores that would touch an input there, or each other."""
    read = {str(place): node.node for node in resolved.nodes.values() if isinstance(place := _place(node), RemotePath)}
    for name, goal in goals.items():
        at = resolved.nodes[name].node.source.where(("path",))
        for location, load in read.items():
            problem = _overlap(name, goal, _keys(goal), location, _keys(location), load, at)
            if problem is not None:
                yield problem
        for earlier in list(goals)[: list(goals).index(name)]:
            one, other = _keys(goals[earlier]), _keys(goal)
            # Of two with one address, the staging folders meet.
            if one != other and _meet(one, other):
                yield Problem(
                    f'Two saves meet in a bucket: "{earlier}" and "{name}".', at=at, node=name,
                    why=f"{goals[earlier]} and {goal}", fix="give one of them a `path:` beside the other's",
                )  # fmt: skip


def _keys(location: str) -> PurePosixPath:
    """Service, bucket and key of an address as a path, the same for all ways to write one object."""
    for endpoint in filter(None, (os.environ.get("AWS_ENDPOINT_URL_S3"), os.environ.get("AWS_ENDPOINT_URL"))):
        location = re.sub(f"{re.escape(endpoint.rstrip('/'))}/+", "s3://", location, count=1)
    for page, service in _PAGES:
        if matched := page.fullmatch(location):
            location = f"{service}://{matched[1]}/{matched[2]}"
    scheme, rest = scheme_of(location), location.partition("://")[2]
    bucket, _, key = rest.partition("/")
    service = "az" if scheme in ("abfs", "abfss") else scheme
    # abfss://container@account.dfs.core.windows.net/path is az://container/path.
    return PurePosixPath(service, bucket.partition("@")[0], *[part for part in key.split("/") if part])


def _place(node: ResolvedNode) -> Place | None:
    """The folder or the file that a node reads."""
    if node.adapter is not None:
        return node.adapter.folder
    if node.checkpoint is None:
        return None
    folder = node.checkpoint.folder
    if node.checkpoint.is_folder:
        return folder
    file = node.checkpoint.files[0].path
    return Path(file) if isinstance(folder, Path) else RemotePath(file, folder.listings)


def _read_from(node: ResolvedNode) -> Path | None:
    """The folder or the file of this machine that a node reads."""
    place = _place(node)
    return place if isinstance(place, Path) else None


def _partial(path: Path) -> Path:
    """Where an output lies until it is complete."""
    return path.with_name(f"{path.name}.partial")


def _meet(one: PurePath, other: PurePath) -> bool:
    """Whether two outputs are one folder or lie inside each other. Neither can be the other's partial folder."""
    return one == other or one in other.parents or other in one.parents


def _overlap(
    save: str, path: str, real: PurePath, folder: str, read: PurePath, load: GraphNode, at: Location
) -> Problem | None:
    """What is wrong with writing to `real` (`path` as given) while `load` reads from `read` (`folder` to be shown)."""
    if real == read or read in real.parents:
        fact = f'The output {"is" if real == read else "lies inside"} an input: "{load.name}".'
        why = f"{path} and {folder}" if path != folder else f"{path} is read while the output is written"
        fix = "choose a path outside the models that are merged"
    elif real in read.parents:
        fact = f'The output would replace a folder that holds an input: "{load.name}".'
        why, fix = f"{path} holds {folder}", "choose a path that holds no model"
    else:
        return None
    return Problem(fact, at=at, node=save, why=why, fix=fix)
