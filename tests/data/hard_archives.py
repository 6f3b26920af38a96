"""Archives that must be refused, each with the reason why it is hard; good ones are in `archive_files`."""

import stat
import tarfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.data.archive_files import (
    GOOD,
    cut,
    seven_zip_named,
    seven_zip_with_link,
    tar_member,
    tar_of_negative_size,
    tar_with_a_huge_header,
    write_seven_zip,
    write_tar,
    write_zip,
    zip_encrypted,
    zip_in,
    zip_lying_about_size,
    zip_named,
    zip_of,
    zip_overlapping,
    zip_with_mode,
)


@dataclass(frozen=True)
class HardArchive:
    """An archive that is refused as a whole: what writes it to a path, and a part of the message."""

    name: str
    why: str
    write: Callable[[Path], Path]
    message: str


NFD = unicodedata.normalize("NFD", "flowers/rosé/1.jpg")
HARD_ARCHIVES = [
    HardArchive(
        "zip climbs out",
        "zipfile strips `..` without a word, so the file would land under another name",
        zip_named("../evil.jpg"),
        "'../evil.jpg' climbs out",
    ),
    HardArchive(
        "zip climbs out in the middle",
        "the same, behind folders that exist",
        zip_named("flowers/rose/../../../evil.jpg"),
        "climbs out",
    ),
    HardArchive(
        "zip absolute",
        "zipfile strips the slash without a word",
        zip_named("/etc/evil.jpg"),
        "'/etc/evil.jpg' has an absolute path",
    ),
    HardArchive(
        "zip backslash",
        "a separator on Windows: harmless here, an escape there",
        zip_named("..\\evil.jpg"),
        "has a backslash",
    ),
    HardArchive("zip drive", "an escape on Windows", zip_named("C:/evil.jpg"), "starts with a drive letter"),
    HardArchive(
        "zip NUL",
        "zipfile shows `evil.jpg`; other programs see `.exe`",
        zip_named("flowers/rose/evil.jpg\0.exe"),
        "has a NUL character",
    ),
    HardArchive(
        "zip link",
        "a link is stored as a small text file with a mode; some programs make a link of it",
        zip_with_mode("flowers/rose/l.jpg", stat.S_IFLNK),
        "'flowers/rose/l.jpg' is a link or a device",
    ),
    HardArchive(
        "zip device",
        "reading a device may never end",
        zip_with_mode("flowers/rose/d.jpg", stat.S_IFCHR),
        "is a link or a device",
    ),
    HardArchive(
        "zip pipe",
        "reading a pipe waits for ever",
        zip_with_mode("flowers/rose/p.jpg", stat.S_IFIFO),
        "is a link or a device",
    ),
    HardArchive(
        "zip encrypted",
        "nobody can give a password in the middle of a run",
        zip_encrypted,
        "'flowers/daisy/1.jpg' is encrypted",
    ),
    HardArchive(
        "zip twice up to Unicode form",
        "two spellings of one name: a disk of macOS takes them for one file",
        zip_of("flowers/rosé/1.jpg", NFD),
        "same name up to Unicode form",
    ),
    HardArchive("zip twice up to dots", "two spellings of one path", zip_of("flowers//rose/./1.png"), "same name"),
    HardArchive(
        "zip overlapping",
        "sharing packed bytes makes petabytes of a few megabytes while every single ratio looks harmless",
        zip_overlapping,
        "'flowers/rose/2.png' overlaps",
    ),
    HardArchive(
        "zip bomb",
        "1000:1, the most deflate can do",
        lambda path: write_zip(path, GOOD | {"flowers/rose/b.bmp": b"\0" * 10**7}),
        "'flowers/rose/b.bmp' unpacks",
    ),
    HardArchive(
        "zip lying about its size",
        "whoever trusts the directory for a limit unpacks them all",
        zip_lying_about_size,
        "'flowers/rose/liar.png'",
    ),
    HardArchive("tar climbs out", "tarfile alone writes outside", tar_member("../evil.jpg"), "climbs out"),
    HardArchive("tar absolute", "tarfile alone writes anywhere", tar_member("/etc/evil.jpg"), "absolute path"),
    HardArchive("tar backslash", "an escape on Windows", tar_member("a\\evil.jpg"), "backslash"),
    HardArchive("tar drive", "an escape on Windows", tar_member("c:evil.jpg"), "drive letter"),
    HardArchive(
        "tar link",
        "reading it would read a file of the machine",
        tar_member("flowers/rose/l.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        "'flowers/rose/l.jpg' is a link",
    ),
    HardArchive(
        "tar link inside",
        "tarfile's data filter lets links inside the archive pass; a later member can write through one",
        tar_member("flowers/rose/l.jpg", tarfile.SYMTYPE, "1.png"),
        "is a link",
    ),
    HardArchive(
        "tar hard link",
        "a second name of another file, perhaps one outside",
        tar_member("flowers/rose/h.jpg", tarfile.LNKTYPE, "flowers/rose/1.png"),
        "is a link",
    ),
    HardArchive(
        "tar device", "reading a device may never end", tar_member("flowers/rose/d.jpg", tarfile.BLKTYPE), "a device"
    ),
    HardArchive(
        "tar pipe", "reading a pipe waits for ever", tar_member("flowers/rose/p.jpg", tarfile.FIFOTYPE), "a device"
    ),
    HardArchive(
        "tar twice",
        "the last one wins in tarfile; which one is the image?",
        tar_member("flowers/rose/1.png"),
        "same name",
    ),
    HardArchive(
        "tar bomb",
        "1000:1, and a tar does not say how large it will be",
        lambda path: write_tar(path, GOOD | {"flowers/rose/b.bmp": b"\0" * 10**8}, "w:gz"),
        "fetch.max_ratio",
    ),
    HardArchive(
        "tar of negative size",
        "the next header would be the one before: some versions of tarfile never come back",
        tar_of_negative_size,
        "member 'a/1.jpg' (its size is negative)",
    ),
    HardArchive(
        "tar with a huge header",
        "headers are read into memory whole, whatever the limits on members say",
        tar_with_a_huge_header,
        "a header claims 3,000,",
    ),
    HardArchive(
        "zip cut",
        "a cut archive must never pass for a small one",
        cut(zip_of(), lambda size: size // 2),
        "truncated or damaged",
    ),
    HardArchive(
        "zip cut at the end",
        "its directory lies at the end",
        cut(zip_of(), lambda size: size - 3),
        "truncated or damaged",
    ),
    HardArchive(
        "tar cut in a member",
        "a cut archive must never pass for a small one",
        cut(lambda p: write_tar(p, GOOD), lambda _: 2_700),
        "truncated or damaged",
    ),
    HardArchive(
        "tar cut between members",
        "between two members: it reads like a complete archive with fewer members",
        cut(lambda p: write_tar(p, GOOD), lambda _: 1_024),
        "truncated or damaged",
    ),
    HardArchive(
        "tar.gz cut",
        "the checksum is lost",
        cut(lambda p: write_tar(p, GOOD, "w:gz"), lambda size: size - 9),
        "truncated or damaged",
    ),
    HardArchive(
        "tar.bz2 cut",
        "the checksum is lost",
        cut(lambda p: write_tar(p, GOOD, "w:bz2"), lambda size: size - 9),
        "truncated or damaged",
    ),
    HardArchive(
        "tar.xz cut",
        "the checksum is lost",
        cut(lambda p: write_tar(p, GOOD, "w:xz"), lambda size: size - 9),
        "truncated or damaged",
    ),
    HardArchive(
        "a web page",
        "what a failed download leaves under the name of an archive",
        lambda p: [p.write_text("<html>Sign in</html>"), p][1],
        "given is a web page (HTML): a download or a log-in failed",
    ),
    HardArchive(
        "an empty file", "a download that never began", lambda p: [p.write_bytes(b""), p][1], "neither a zip nor a tar"
    ),
    HardArchive(
        "a Git-LFS pointer",
        "what a clone without LFS leaves",
        lambda p: [p.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), p][1],
        "given is a Git-LFS pointer, not the file itself: run `git lfs pull`",
    ),
    HardArchive(
        "a RAR",
        "no library that is kept reads it",
        lambda p: [p.write_bytes(b"Rar!\x1a\x07\0"), p][1],
        "a RAR archive: pack",
    ),
    HardArchive(
        "a Parquet file", "images in a table", lambda p: [p.write_bytes(b"PAR1" + bytes(20)), p][1], "a Parquet file"
    ),
    HardArchive(
        "zip with Korean names of Windows",
        "read as the standard says, they become letters of an old screen: class names nobody wrote",
        zip_in("cp949", "사과/1.jpg"),
        "has a name that is not UTF-8: set dataset.encoding (cp949 reads '사과/1.jpg'",
    ),
    HardArchive(
        "zip with western names of Windows",
        "the same for accents",
        zip_in("cp1252", "größe/1.jpg"),
        "cp1252 reads 'größe/1.jpg'",
    ),
    HardArchive(
        "tar with Korean names",
        "the same; tar never says an encoding",
        tar_member("사과/1.jpg".encode("cp949").decode("utf-8", "surrogateescape")),
        "cp949 reads '사과/1.jpg'",
    ),
    HardArchive(
        "7z climbs out", "would be written outside", seven_zip_named("../evil.jpg"), "'../evil.jpg' climbs out"
    ),
    HardArchive("7z absolute", "would be written anywhere", seven_zip_named("/etc/evil.jpg"), "absolute path"),
    HardArchive("7z drive", "an escape on Windows", seven_zip_named("C:/evil.jpg"), "drive letter"),
    HardArchive(
        "7z link", "reads a file of the machine", seven_zip_with_link, "'flowers/rose/l.jpg' is a link or a device"
    ),
    HardArchive(
        "7z encrypted",
        "nobody can give a password in the middle of a run",
        lambda p: write_seven_zip(p, GOOD, password="secret"),
        "is encrypted: pack the archive again without a password",
    ),
    HardArchive(
        "7z bomb",
        "thousands to one, and one size for all members",
        lambda p: write_seven_zip(p, GOOD | {"flowers/rose/b.bmp": b"\0" * 10**7}),
        "fetch.max_ratio",
    ),
    HardArchive(
        "7z cut",
        "its directory lies at the end",
        cut(lambda p: write_seven_zip(p, GOOD), lambda size: size // 2),
        "truncated or damaged",
    ),
    HardArchive(
        "tar.zst cut",
        "the checksum is lost",
        cut(lambda p: write_tar(p, GOOD, "w:zst"), lambda size: size - 3),
        "truncated or damaged",
    ),
    HardArchive(
        "tar.zst bomb",
        "ten thousand to one",
        lambda path: write_tar(path, GOOD | {"flowers/rose/b.bmp": b"\0" * 10**8}, "w:zst"),
        "fetch.max_ratio",
    ),
]
