"""One model made again from a commit, in a clone of its own: all stages run, nothing but data comes from DVC's cache.

The clone shares git's objects and DVC's cache with the project and writes to neither: results are not committed to the
cache, runs are not shown in MLflow. Its openings of the test split go to the project's ledger.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from podium.config.runtime import Runtime, instruction_settings
from podium.console.dag import read_yaml
from podium.console.openings import keep_openings, read_openings
from podium.console.process import git_said, run_dvc
from podium.core.errors import DataError, one_line
from podium.core.layout import DVC_LOCK, Layout

_NO_STORE = "http://127.0.0.1:9"  # the port "discard": a rebuild is no run to be shown
_LEFT_OUT = ("MLFLOW_", "DVC_", "RANK", "WORLD_SIZE", "LOCAL_RANK")
_DATA = "data.dvc"


@dataclass(frozen=True)
class Rebuilt:
    """A clone in which a model was made again; `failed` says why it was not, and is empty where it was."""

    layout: Layout
    failed: str


def commit_of(layout: Layout, revision: str) -> str:
    """The commit that a revision names.

    Raises:
        DataError: this clone of git does not have it.
    """
    named = git_said(layout.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if named is None:
        raise DataError(f"{revision!r} is no commit of this clone: git fetch, or name one with --rev")
    return named.strip()


@contextmanager
def rebuild(
    layout: Layout,
    commit: str,
    model: str,
    *,
    keep: Path | None,
    install: bool,
    show: Callable[[str], None],
) -> Iterator[Rebuilt]:
    """Clones the project at a commit, pulls its data and runs every stage up to the evaluation of one model.

    Args:
        layout: the project's paths.
        commit: of the project.
        model: a key of `models` there.
        keep: a folder that does not exist yet, in which the clone is left; None removes it at the end of the block.
        install: run in a new environment with the versions of `constraints.txt` of the commit, and not in this one.
        show: gets each line that is printed.

    Raises:
        DataError: the clone or its data cannot be had, or the environment cannot be installed.
    """
    if keep is not None and keep.exists():
        raise DataError(f"{keep} exists already: name a folder that does not")
    with ExitStack() as stack:
        place = keep or Path(stack.enter_context(TemporaryDirectory(prefix="podium-verify-"))) / "project"
        clone = Layout(_clone(layout, commit, place))
        _share(layout, clone)
        own = instruction_settings(
            Runtime(instructions="avx2")
        )  # of this command: the commit's params may ask otherwise
        environment = {k: v for k, v in os.environ.items() if not k.startswith(_LEFT_OUT) and own.get(k) != v}
        if install:
            environment = _install(clone.root, environment)
        target = f"evaluate@{model}"
        if model not in (read_yaml(clone.params).get("models") or {}):
            yield Rebuilt(clone, f"params.yaml of the commit has no model {model}")
            return
        failed = _run(clone.root, environment, target, show)
        _keep_openings(layout, clone)
        yield Rebuilt(clone, failed)


def _clone(layout: Layout, commit: str, place: Path) -> Path:
    """A clone at a commit; the project's root in it, which may lie below the repository's."""
    top, below = (git_said(layout.root, "rev-parse", wish) for wish in ("--show-toplevel", "--show-prefix"))
    if top is None or below is None:
        raise DataError(f"{layout.root} is in no git repository: a version is rebuilt from its commit")
    for arguments in (
        ("clone", "--quiet", "--shared", "--no-checkout", "--", top.strip(), str(place)),
        ("-C", str(place), "checkout", "--quiet", "--detach", commit),
    ):
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise DataError(f"git cannot clone {top.strip()} at {commit[:12]} ({one_line(done.stderr)})")
    return place / below.strip()


def _share(layout: Layout, clone: Layout) -> None:
    """Lets the clone take data from the project's cache and downloads, which are checked by their digests.

    Raises:
        DataError: the data of the commit are neither in the cache nor in the remote.
    """
    local = Path(".dvc") / "config.local"  # where people keep what only their machine knows of a remote
    if (layout.main_root / local).is_file():
        (clone.root / local).write_bytes((layout.main_root / local).read_bytes())
    run_dvc(clone.root, "config", "--local", "cache.dir", str(layout.main_root / ".dvc" / "cache"))
    run_dvc(clone.root, "config", "--local", "cache.type", "reflink,hardlink,symlink,copy")
    if layout.downloads.is_dir():
        clone.work.mkdir(exist_ok=True)
        clone.downloads.symlink_to(layout.downloads, target_is_directory=True)
    if (clone.root / _DATA).is_file():
        run_dvc(clone.root, "pull", _DATA)
    (clone.root / DVC_LOCK).unlink(missing_ok=True)  # what it holds afterwards was made here


def _install(root: Path, environment: dict[str, str]) -> dict[str, str]:
    """The environment with a Python of its own first, with the libraries that the commit pins.

    Raises:
        DataError: pip cannot install them.
    """
    place = root.with_name(f"{root.name}-venv")
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    command = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "-c", "constraints.txt", "-e", "."]
    done = subprocess.run(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise DataError(f"the versions of constraints.txt cannot be installed ({said}): leave --install out")
    return {**environment, "PATH": f"{place / 'bin'}{os.pathsep}{environment.get('PATH', '')}"}


def _run(root: Path, environment: dict[str, str], target: str, show: Callable[[str], None]) -> str:
    """Runs every stage up to one, by DVC; the last error that was printed, empty where all ran."""
    paths = os.pathsep.join(filter(None, (str(root / "src"), environment.get("PYTHONPATH", ""))))
    told = {"PYTHONPATH": paths, "MLFLOW_TRACKING_URI": _NO_STORE, "DVC_NO_ANALYTICS": "1"}
    command = ["dvc", "repro", "--force", "--no-run-cache", "--no-commit", target]
    errors = []
    with subprocess.Popen(
        command,
        cwd=root,
        env={**environment, **told},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as dvc:
        for line in dvc.stdout or ():
            if _NO_STORE not in line:
                show(line.rstrip())
            if line.lower().startswith("error: "):
                errors.append(line.strip()[len("error: ") :])
    if not dvc.returncode:
        return ""
    return errors[0] if errors else f"dvc ended with {dvc.returncode}"


def _keep_openings(layout: Layout, clone: Layout) -> None:
    """Notes in the project's ledger for which models the clone opened the test split."""
    known = {opening.key for opening in read_openings(layout)}
    for opening in read_openings(clone):
        if opening.key not in known:
            keep_openings(layout, opening)
