"""Draw the sample: twelve classes of synthetic produce pictures, their truth, and a few planted defects.

    python tools/draw_sample.py --out data/sample.zip

The same seed gives the same bytes, whatever the number of processes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import multiprocessing
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sample_kinds import PAIRS, Kind, produce_kinds
from sample_scene import Style, Truth, draw_picture

SIZE = 96
PER_CLASS = 150
SEED = 11
QUALITY = 88
STYLE = Style(hard_share=0.22, second_mode_share=0.15, partner_share=0.5)
COLUMNS = (
    "path", "label", "group", "x0", "y0", "x1", "y1", "occlusion", "clutter", "objects", "view", "other_label",
    "planted",
)  # fmt: skip
PARTNERS = {**dict(PAIRS), **{second: first for first, second in PAIRS}}


@dataclass(frozen=True)
class Member:
    """One file of the sample: its path below `sample/`, its bytes, its class and what is known about it."""

    path: str
    data: bytes
    kind: Kind
    truth: Truth
    planted: str = ""


def encode(pixels: NDArray[np.uint8], quality: int = QUALITY) -> bytes:
    """Return uint8 RGB pixels, shape (rows, columns, 3), as a JPEG file of quality 1..95."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return buffer.getvalue()


def draw_member(seed: int, kind: Kind, index: int) -> Member:
    """Return one regular picture of the sample.

    Args:
        seed: seed of the sample.
        kind: class of the picture.
        index: its number within the class.

    Returns:
        The member; it depends on the arguments only.
    """
    picture = draw_picture(seed, kind, index, size=SIZE, others=produce_kinds(), partners=PARTNERS, style=STYLE)
    return Member(f"{kind.name}/{index:03d}.jpg", encode(picture.pixels), kind, picture.truth)


def _draw_task(task: tuple[int, int, int]) -> Member:
    """Draw the picture (seed, number of the class, index)."""
    seed, number, index = task
    return draw_member(seed, produce_kinds()[number], index)


def _truncated(member: Member) -> bytes:
    """Return the first part of a JPEG file, as an interrupted copy leaves it."""
    return member.data[: len(member.data) // 3]


def _not_an_image(member: Member) -> bytes:
    """Return an error page saved under the name of a picture."""
    return f"<html><body><h1>404 Not Found</h1><p>{member.kind.name}</p></body></html>\n".encode() * 12


def _copied(member: Member) -> bytes:
    """Return the same bytes."""
    return member.data


def _commented(member: Member) -> bytes:
    """Return a file with the same pixels and other bytes: a comment follows the start marker."""
    note = b"copy of a picture in this set"
    return member.data[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + member.data[2:]


def near_duplicate(member: Member, margin: int, gain: float) -> Member:
    """Return a member cropped a little, scaled back, made brighter or darker, and encoded again.

    Args:
        member: the original.
        margin: pixels cut from the left and top; the right and bottom lose one less.
        gain: factor on the brightness.

    Returns:
        The changed member with its box moved along.
    """
    with Image.open(io.BytesIO(member.data)) as image:
        far = SIZE - margin + 1
        cropped = image.convert("RGB").crop((margin, margin, far, far))
        pixels = np.asarray(cropped.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float32)
    scale = SIZE / (far - margin)
    x0, y0, x1, y1 = (round((edge - margin) * scale) for edge in member.truth.box)
    box = (max(x0, 0), max(y0, 0), min(x1, SIZE), min(y1, SIZE))
    brightened = np.clip(pixels * gain + 0.5, 0, 255).astype(np.uint8)
    return replace(member, data=encode(brightened, 78), truth=replace(member.truth, box=box))


def planted_members(members: list[Member], per_class: int) -> list[Member]:
    """Return the defects: two unreadable files, three exact and three near duplicates.

    Args:
        members: the regular pictures.
        per_class: pictures of each class; the defects take the next number of theirs.

    Returns:
        Eight members, each made from the first clean picture of its class past a few.
    """
    spoilt: tuple[tuple[str, str, Callable[[Member], bytes]], ...] = (
        ("tulip", "unreadable", _truncated),
        ("ginger", "unreadable", _not_an_image),
        ("lemon", "exact_duplicate", _copied),
        ("radish", "exact_duplicate", _commented),
        ("tomato", "exact_duplicate", _commented),
    )
    near = (("orange", 2, 1.08), ("paprika", 2, 0.9), ("banana", 2, 1.06))
    planted = []
    for label, sort, change in spoilt:
        source = _clean_source(members, label)
        path = f"{label}/{per_class:03d}.jpg"
        planted.append(replace(source, path=path, data=change(source), planted=sort))
    for label, margin, gain in near:
        changed = near_duplicate(_clean_source(members, label), margin, gain)
        planted.append(replace(changed, path=f"{label}/{per_class:03d}.jpg", planted="near_duplicate"))
    return planted


def _clean_source(members: list[Member], label: str) -> Member:
    """Return a picture of a class that shows one whole object on a quiet surface, seen from the front."""
    clean = [
        member
        for member in members
        if member.kind.name == label
        and member.truth.occlusion == 0
        and member.truth.clutter == 0
        and member.truth.objects == 1
        and member.truth.view == "front"
    ]
    return clean[min(7, len(clean) - 1)]


def truth_csv(members: list[Member]) -> bytes:
    """Return the truth table, one row a member in the order of the paths, as UTF-8 CSV with `COLUMNS`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for member in sorted(members, key=lambda item: item.path):
        truth = member.truth
        seen = (f"{truth.occlusion:.4f}", f"{truth.clutter:.4f}", truth.objects, truth.view, truth.other_label)
        writer.writerow([member.path, member.kind.name, member.kind.group, *truth.box, *seen, member.planted])
    return buffer.getvalue().encode()


def write_zip(members: list[Member], path: Path) -> str:
    """Write the members and their truth table into a zip file, in one step.

    Args:
        members: what to write; the order does not matter.
        path: file to write; its folder exists.

    Returns:
        SHA-256 of the file as hexadecimal digits.
    """
    contents = {f"sample/{member.path}": member.data for member in members}
    contents["sample/truth.csv"] = truth_csv(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, contents[name])
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(buffer.getvalue())
    partial.replace(path)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def draw_sample(seed: int, per_class: int, processes: int) -> list[Member]:
    """Return all members of the sample.

    Args:
        seed: seed of the sample.
        per_class: regular pictures of each class, 1 or more.
        processes: how many processes draw.

    Returns:
        The regular pictures in the order of class and number, then the planted ones.
    """
    tasks = [(seed, number, index) for number in range(len(produce_kinds())) for index in range(per_class)]
    if processes > 1:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            members = pool.map(_draw_task, tasks, chunksize=25)
    else:
        members = [_draw_task(task) for task in tasks]
    return members + planted_members(members, per_class)


def main() -> None:
    """Draw the sample and write it."""
    parser = argparse.ArgumentParser(description="Draw the synthetic sample.")
    parser.add_argument("--out", type=Path, default=Path("data/sample.zip"))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--per-class", type=int, default=PER_CLASS)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    members = draw_sample(options.seed, options.per_class, options.processes)
    digest = write_zip(members, options.out)
    print(f"{options.out}: {len(members)} files, {options.out.stat().st_size / 1e6:.1f} MB, sha256 {digest}")


if __name__ == "__main__":
    main()
