"""`podium init`: from a folder of one's own images to an experiment that `dvc repro` can run."""

import re
import shutil
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from podium.cli.experiment import Force, refuse_lost_edits, with_offline_weights
from podium.console.process import git_said, run_dvc
from podium.console.progress import show_progress
from podium.console.terminal import project
from podium.core.errors import DataError, UsageError, first_few
from podium.core.files import replacing, replacing_folder, write_text
from podium.core.layout import Layout

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}")
_NAMED = 3  # links spelt out
_BLOCK = 1 << 20  # bytes copied at once
_MANY = 5_000  # files from which on packing is proposed


def init(
    images: Annotated[Path, typer.Argument(help="A folder with a sub-folder per class, or a zip or tar of one.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Of the experiment and below data/; that of the folder by default.")
    ] = None,
    *,
    licence: Annotated[str, typer.Option("--licence", help="Of the images, such as CC-BY-4.0.")] = "unknown",
    offline: Annotated[
        bool, typer.Option("--offline", help="Start from the small weights in data/ instead of ImageNet's.")
    ] = False,
    pack: Annotated[
        bool, typer.Option("--pack", help="Pack a folder of many files into one zip, which DVC handles in a moment.")
    ] = False,
    force: Force = False,
) -> None:
    """Start an experiment on your own images: copy them to data/, pin them with DVC, put a new experiment in force."""
    layout = project()
    source = images.expanduser().resolve()
    chosen = _name(name, source)
    kept = layout.root / "experiments" / f"{chosen}.yaml"
    template = layout.root / "experiments" / "folder.yaml"
    if not template.is_file():
        raise DataError(f"{template} does not exist: restore it with `git checkout experiments/folder.yaml`")
    place = _check(layout, source, chosen, kept, pack)
    text = _experiment(template.read_text(encoding="utf-8"), layout, place, chosen, licence)
    text = with_offline_weights(layout, text, "folder") if offline else text
    refuse_lost_edits(layout, force)
    _bring_sample(layout)
    files = _copy(source, place, pack)
    run_dvc(layout.root, "add", "--quiet", "data")
    write_text(kept, text)
    write_text(layout.params, text)
    _print_next(layout, place, chosen, files, licence_known=licence != "unknown", pinned=offline)


def _print_next(layout: Layout, place: Path, chosen: str, files: int, *, licence_known: bool, pinned: bool) -> None:
    """What was done, and what is left for the user to do."""
    where = place.relative_to(layout.root).as_posix()
    print(f"{where}: {files:,} files, pinned by data.dvc")
    if place.is_dir() and files >= _MANY:
        print("DVC looks at every file each time it runs: with --pack it would be one")
    print(f"{chosen} is in force (experiments/{chosen}.yaml)")
    if not licence_known:
        print("The licence of your images is `unknown`: write it to dataset.licence in params.yaml")
    print("Next: dvc repro")
    if not pinned:
        print("The published weights are not pinned yet: the first run stops and names their digests to write down.")
    print(f'Keep it: git add data.dvc params.yaml experiments/{chosen}.yaml && git commit -m "{chosen}"')


def _name(given: str | None, source: Path) -> str:
    """What the experiment is called: as asked for, else like the folder or file.

    Raises:
        UsageError: that cannot be the name of an experiment.
    """
    bare = source.name[: -len(suffix)] if (suffix := _archive(source)) else source.name
    chosen = given if given is not None else re.sub(r"[^A-Za-z0-9_\-]+", "-", bare).strip("-_")
    if _NAME.fullmatch(chosen) is None:
        raise UsageError(
            f"{chosen or bare!r} cannot name an experiment: give --name with up to 64 letters, digits, - and _"
        )
    return chosen


def _archive(source: Path) -> str | None:
    """How an archive's name ends; None for anything else."""
    lower = source.name.lower()
    return next((suffix for suffix in sorted(_ARCHIVES, key=len, reverse=True) if lower.endswith(suffix)), None)


def _check(layout: Layout, source: Path, name: str, kept: Path, pack: bool) -> Path:
    """Where the images go; refuses what would lose something.

    Raises:
        UsageError: there are no such images, or the place or the name is taken.
        DataError: the project is in no git repository.
    """
    if not source.exists():
        raise UsageError(f"{source} does not exist: give a folder with a sub-folder per class, or a zip or tar of one")
    if source.is_file() and _archive(source) is None:
        raise UsageError(f"{source} is no folder and no archive ({', '.join(_ARCHIVES)}): give one of these")
    if layout.root.is_relative_to(source):
        raise UsageError(f"{source} holds this project: give the folder of the images alone")
    if kept.exists():
        raise UsageError(f"experiments/{name}.yaml is there already: give another --name, or `podium use {name}`")
    if not (layout.root / ".dvc").is_dir() or git_said(layout.root, "rev-parse") is None:
        raise DataError(
            f"{layout.root} is in no git repository, which DVC needs: clone the project with git, or run "
            "`git init && git add -A && git commit -m start` there first"
        )
    if pack and (source.is_file() or source.is_relative_to(layout.data)):
        raise UsageError("--pack is for a folder outside of data/: leave it out")
    if source.parent == layout.data:
        return source
    place = layout.data / f"{name}{'.zip' if pack else _archive(source) or ''}"
    if place.exists():
        raise UsageError(f"data/{place.name} is there already: give another --name, or remove it")
    return place


def _experiment(template: str, layout: Layout, place: Path, name: str, licence: str) -> str:
    """`experiments/folder.yaml` for these images; comments stay."""
    where = place.relative_to(layout.root).as_posix()
    changes = {
        r"^experiment: \S+": f"experiment: {name}",
        r"^  source: folder": f"  source: {'archive' if _archive(place) else 'folder'}",
        r"^  location: \S+": f"  location: {_quoted(where)}",
        r"^  licence: \S+": f"  licence: {_quoted(licence)}",
        r"^  registered_model: \S+": f"  registered_model: podium-{name}",
    }
    for pattern, line in changes.items():
        template = re.sub(pattern, line.replace("\\", r"\\"), template, count=1, flags=re.MULTILINE)
    return template


def _quoted(text: str) -> str:
    """A text as YAML reads it back."""
    return text if re.fullmatch(r"[A-Za-z][\w./\-]*", text, re.ASCII) else "'" + text.replace("'", "''") + "'"


def _bring_sample(layout: Layout) -> None:
    """Pulls what `data.dvc` pins into an empty data/, so that pinning it anew loses nothing.

    Raises:
        DataError: DVC cannot bring it.
    """
    if (layout.root / "data.dvc").is_file() and not any(layout.data.glob("*")):
        run_dvc(layout.root, "pull", "--quiet", "data.dvc")


def _copy(source: Path, place: Path, pack: bool) -> int:
    """Copies a file, or copies or packs a folder without its links, which may lead anywhere.

    What lies in its place already stays.

    Returns:
        How many files there are.
    """
    if source.is_file():
        if source != place:
            with replacing(place) as temporary:
                shutil.copyfile(source, temporary)
        return 1
    files, links = _walk(source)
    if links:
        told = first_few([link.relative_to(source).as_posix() for link in links], _NAMED)
        print(f"warning: {len(links)} links are left out ({told}): copy what they lead to", file=sys.stderr)
    if source == place:
        return len(files)
    if pack:
        _pack(source, files, place)
        return len(files)
    with replacing_folder(place) as temporary, show_progress("copy", len(files)) as advance:
        for file in files:
            target = temporary / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            advance(1)
    return len(files)


def _pack(source: Path, files: Sequence[Path], place: Path) -> None:
    """Packs files as they are (images are compressed already); the same files give the same bytes."""
    with (
        replacing(place) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
        show_progress("pack", len(files)) as advance,
    ):
        for file in files:
            about = zipfile.ZipInfo(file.relative_to(source).as_posix())
            about.file_size = file.stat().st_size  # tells whether the member needs the form for more than 4 GiB
            with file.open("rb") as stream, archive.open(about, "w") as member:
                shutil.copyfileobj(stream, member, _BLOCK)
            advance(1)


def _walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files and the links below a folder; nothing is followed.

    Raises:
        UsageError: there is no file.
    """
    files: list[Path] = []
    links: list[Path] = []
    for path in _entries(folder):
        (links if path.is_symlink() else files).append(path)
    if not files:
        raise UsageError(f"{folder} holds no file: give a folder with a sub-folder of images per class")
    return sorted(files), sorted(links)


def _entries(folder: Path) -> Iterator[Path]:
    """Every file and link below a folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield from _entries(path)
        elif path.is_file() or path.is_symlink():
            yield path
