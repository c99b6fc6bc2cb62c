"""Whether a file is a zip archive as torch.save writes it, and where its storages lie. Unpickles nothing.

A mapped storage is a range of the file. So each must be stored as it is, and a tensor may claim no byte beside its
storage: `fits` proves it for what was mapped.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence

ZIP = b"PK\x03\x04"
_MOST_PICKLE_BYTES = 256 << 20
_PAGE_BYTES = 4096
_LOCAL_HEADER_BYTES = 30


class Refused(Exception):
    """The file is not converted. `fact` goes on after the file's name."""

    def __init__(self, fact: str, why: str = "", fix: str = "") -> None:
        super().__init__(fact)
        self.fact, self.why, self.fix = fact, why, fix


AGAIN = "download or copy it again, and compare its size and checksum with the source's"
STATE_DICT = "save the tensors alone where the model was trained: torch.save(model.state_dict(), FILE)"


def storages(path: str) -> list[tuple[int, int]]:
    """(offset, bytes) of every storage in the archive. Refused when it is no archive of torch.save's."""
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:  # noqa: PTH123
            members = archive.infolist()
            _check_members(members)
            _check_byte_order(archive, members)
            return [
                (_data_offset(file.fileno(), member), member.file_size)
                for member in members
                if "/data/" in member.filename
            ]
    except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise Refused("is damaged: it begins as a zip archive and does not end as one.", str(error), AGAIN) from error


def fits(claimed: Iterable[tuple[int, int]], stored: Sequence[tuple[int, int]]) -> bool:
    """Whether mapped storages, (address, bytes) each, are whole records of one mapped file.

    The address of the mapping is not known: there must be one that makes every claim a record.
    """
    claims = [claim for claim in claimed if claim[1]]
    if not claims:
        return True
    records = set(stored)
    sizes = Counter(nbytes for _, nbytes in stored)
    address, nbytes = min(claims, key=lambda claim: sizes[claim[1]])
    bases = (address - offset for offset, size in stored if size == nbytes)
    return any(base % _PAGE_BYTES == 0 and all((at - base, size) in records for at, size in claims) for base in bases)


def _check_members(members: Sequence[zipfile.ZipInfo]) -> None:
    names = Counter(member.filename for member in members)
    pickles = [
        member for member in members if member.filename.count("/") == 1 and member.filename.endswith("/data.pkl")
    ]
    repeated = [name for name, count in names.items() if count > 1]
    packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
    if any(name.endswith("/constants.pkl") for name in names):
        raise Refused("is a TorchScript program, not a checkpoint.", "it holds code beside its tensors", STATE_DICT)
    if repeated:
        raise Refused("is damaged: it holds two records of one name.", repeated[0][:200], AGAIN)
    if len(pickles) != 1:
        why = f"torch.save writes one data.pkl in a folder; it holds {len(pickles)}"
        raise Refused("is a zip archive, and none that torch.save wrote.", why, "name the checkpoint itself")
    if packed:
        why = f"torch.save stores its records as they are; {packed[0][:200]} is compressed"
        raise Refused("was packed again after torch.save wrote it.", why, "download or copy the file as it was saved")
    if pickles[0].file_size > _MOST_PICKLE_BYTES:
        why = f"its data.pkl has {pickles[0].file_size:,} bytes; at most {_MOST_PICKLE_BYTES:,} are read"
        raise Refused("describes its tensors in too many bytes.", why, STATE_DICT)


def _check_byte_order(archive: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo]) -> None:
    """A mapped storage cannot be turned round."""
    for member in members:
        if member.filename.endswith("/byteorder") and archive.read(member)[:8] != sys.byteorder.encode():
            raise Refused("was saved on a machine with another byte order.", fix="convert it on such a machine")


def _data_offset(descriptor: int, member: zipfile.ZipInfo) -> int:
    """Where a record's bytes begin: behind its local header, whose two last fields are lengths."""
    header = os.pread(descriptor, _LOCAL_HEADER_BYTES, member.header_offset)
    if len(header) < _LOCAL_HEADER_BYTES or not header.startswith(ZIP):
        raise zipfile.BadZipFile(f"there is no record at byte {member.header_offset:,}")
    name_bytes, extra_bytes = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    return member.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
