"""Records that are appended and never edited: each holds its own digest and those of the records it follows.

A record that was cut out, edited or put in between is noticed, since the next one names the digest it had. Of a file,
the last lines may be cut unnoticed: git's history, or another copy, tells.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Self, TypeVar

from podium.core.errors import DataError
from podium.core.files import canonical_json, sha256_text, write_text
from podium.records.base import Record

_Kind = TypeVar("_Kind", bound="ChainedRecord")


class ChainedRecord(Record):
    """A record of a chain.

    `previous` are digests of the records that no other one followed yet: one, none for the first, more after a merge
    of two branches. `digest` is of this record without itself, 64 hex digits.
    """

    previous: list[str] = []
    digest: str = ""

    def sealed(self) -> str:
        """The digest that the record must hold."""
        return sha256_text(canonical_json(self.model_dump(mode="json", exclude={"digest"}, by_alias=True)))

    def after(self, known: Iterable["ChainedRecord"]) -> Self:
        """The record as the next one of a chain."""
        links = list(known)
        followed = {digest for link in links for digest in link.previous}
        chained = self.model_copy(update={"previous": [one.digest for one in links if one.digest not in followed]})
        return chained.model_copy(update={"digest": chained.sealed()})

    def line(self) -> str:
        """The record as a line of a file; what chains it stands last."""
        told = self.model_dump(mode="json", by_alias=True)
        chain = {key: told.pop(key) for key in ("previous", "digest")}
        return json.dumps({**told, **chain})


def read_chain(path: Path, kind: type[_Kind], back: str) -> dict[str, _Kind]:
    """The records of a file of lines by their digests, oldest first; none where there is no file.

    Args:
        path: the file.
        kind: what each line is.
        back: how a damaged file is mended, for the message.

    Raises:
        DataError: a line was cut out or edited, or the file holds a merge conflict.
    """
    return parse_chain(path.read_bytes() if path.is_file() else b"", str(path), kind, back)


def parse_chain(text: bytes, where: str, kind: type[_Kind], back: str) -> dict[str, _Kind]:
    """What `read_chain` gives, of the text of a file; `where` names it in a message.

    Raises:
        DataError: a line was cut out or edited, or there is a merge conflict.
    """
    found: dict[str, _Kind] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        at = f"{where} line {number}"
        if line.startswith((b"<<<<<<<", b"|||||||", b"=======", b">>>>>>>")):
            raise DataError(f"{at} is a merge conflict: keep the lines of both sides, delete its marks")
        try:
            record = kind.model_validate_json(line)
        except ValueError as error:
            raise DataError(f"{at} was cut or edited: {back}") from error
        if record.digest != record.sealed():
            raise DataError(f"{at} was edited, its digest is another one: {back}")
        if not found.keys() >= set(record.previous):
            raise DataError(f"{at} follows a line that is not there any more: {back}")
        found[record.digest] = record
    return found


def write_chain(path: Path, records: Iterable[ChainedRecord]) -> bool:
    """Writes the lines of a chain, whole or not at all, unless the file holds just these; whether it was written."""
    text = "".join(f"{record.line()}\n" for record in records)
    if not text or (path.is_file() and path.read_bytes() == text.encode()):
        return False
    write_text(path, text)
    return True
