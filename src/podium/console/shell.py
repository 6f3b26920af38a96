"""The outer shell of a stage script: arguments in, params read, why it runs again, one line and an exit code out."""

import argparse
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

import podium
from podium.config.params import load
from podium.config.runtime import use_instructions
from podium.console.dag import (
    changed_values,
    describe_position,
    keep_seconds,
    leaves,
    read_yaml,
    stage_name,
    value_at,
)
from podium.console.dvc_files import alone, keep_lock
from podium.console.process import (
    Terminated,
    no_more_signals,
    once,
    operating_system_said,
    refuse_pickle,
    set_up_logging,
    silence_telemetry,
    stoppable,
    use_utf8,
)
from podium.core.errors import DataError, PodiumError, first_few, told
from podium.core.files import sha256_file, write_json
from podium.core.identity import stage_code
from podium.core.layout import DVC_LOCK, DVC_YAML, Layout

_SHOWN = 4  # differences named; the rest is counted
_PATIENCE = 600.0  # seconds in which DVC comes to the end of hashing and copying what another stage made

Inputs = dict[str, dict[str, str]]
"""What a stage read, by kind (libraries, modules, params, files) and name."""
_INPUTS = TypeAdapter(Inputs)


def run_stage(main: Callable[..., None], arguments: Sequence[str] | None = None) -> int:
    """Runs a stage's `main(params, layout)` from the project's root, `main(params, layout, model)` once per model.

    A `main` that takes `on` is told a split: on another one than test it is no run of the stage, and leaves no trace.

    Returns:
        0 done, 1 refused or failed (one line on stderr), 130 interrupted, 143 ended by SIGTERM; wrong usage exits
        with 2.
    """
    silence_telemetry()
    refuse_pickle()
    use_utf8()
    parser = argparse.ArgumentParser(description=inspect.getdoc(main) or inspect.getdoc(inspect.getmodule(main)))
    per_model = "model" in inspect.signature(main).parameters
    if per_model:
        parser.add_argument("--model", required=True, help="a key of `models` in params.yaml")
    if "on" in inspect.signature(main).parameters:
        told_on = "the split to measure on; val writes nothing and may be repeated at will"
        parser.add_argument("--on", choices=("test", "val"), default="test", help=told_on)
    parser.add_argument("-v", "--verbose", action="store_true", help="say more")
    parser.add_argument("-q", "--quiet", action="store_true", help="say warnings and results alone")
    given = vars(parser.parse_args(arguments))
    set_up_logging(verbose=given.pop("verbose"), quiet=given.pop("quiet"))
    layout = Layout(Path.cwd())
    try:
        _refuse_foreign_package(layout)
        params = load(layout.params)
        use_instructions(params.runtime)
        if per_model:
            params.model(given["model"])
        stage, model = Path(inspect.getfile(main)).stem, given.get("model")
        with stoppable(), _run(layout, stage, model) if given.get("on") != "val" else nullcontext():
            main(params, layout, **given)
    except PodiumError as error:
        print(f"error: {told(error)}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        return operating_system_said(error)
    except KeyboardInterrupt as stopped:
        no_more_signals()
        print("interrupted: run `dvc repro` to go on", file=sys.stderr)
        return 143 if isinstance(stopped, Terminated) else 130
    return 0


def _refuse_foreign_package(layout: Layout) -> None:
    """What runs must be what is fingerprinted: a project with a `src` of its own runs that.

    Raises:
        DataError: the package that was imported lies elsewhere.
    """
    own, running = layout.root / "src" / "podium", Path(podium.__file__).parent
    if own.is_dir() and own.resolve() != running.resolve():
        raise DataError(
            f"{running} would run, but results are fingerprinted with {own}: run `dvc repro` from the project's root, "
            "or install this project into the environment (make install)"
        )


@contextmanager
def _run(layout: Layout, stage: str, model: str | None) -> Iterator[None]:
    """What is done and said around a run of a stage."""
    if not _is_first():
        yield
        return
    with ExitStack() as around:
        around.enter_context(once(layout, f"{stage} {model}" if model else stage))
        with alone(layout, _PATIENCE):  # the dvc of a stage that runs beside this one may be writing `dvc.lock`
            keep_lock(layout)
            around.enter_context(say_where(layout, stage, model))
            around.enter_context(say_why(layout, stage, model))
        yield


def _is_first() -> bool:
    """Whether this process is the one that speaks for all that train one network together."""
    return os.environ.get("RANK", "0") == "0"


def stage_inputs(layout: Layout, stage: str, model: str | None) -> Inputs:
    """What a stage is about to read, as `dvc.yaml` and its imports say."""
    body = _body(layout, stage)
    params = read_yaml(layout.params)
    named = [str(key).replace("${key}", model or "") for key in body.get("params", [])]
    deps = [str(path).replace("${key}", model or "") for path in body.get("deps", [])]
    code = read_inputs(layout.code(stage))  # what DVC compared; parsing every module again takes a third of a second
    return {
        **(code or stage_code(layout.root, stage).json()),
        "params": {name: value for key in named for name, value in leaves(key, value_at(params, key))},
        "files": {path: _digest(layout, path) for path in deps if path != _code(stage)},
    }


def differences(now: Inputs, before: Inputs) -> list[str]:
    """What changed, a few words each: `timm 1.0.31 -> 1.0.32`, `podium.data.decode edited`, `train.epochs 6 -> 8`."""
    found = []
    for kind in ("libraries", "params", "modules", "files"):
        new, old = now.get(kind, {}), before.get(kind, {})
        if kind in ("libraries", "params"):
            found += changed_values(new, old)
            continue
        for name in sorted({*new, *old}):
            if new.get(name) == old.get(name):
                continue
            verb = "added" if name not in old else "removed" if name not in new else "edited"
            found.append(f"{name} {verb if kind == 'modules' else 'changed'}")
    return found


@contextmanager
def say_where(layout: Layout, stage: str, model: str | None) -> Iterator[None]:
    """Prints how far the experiment is and about how long it will take, and keeps how long the stage took.

    Says nothing of `code`, which is done in no time. Of several processes the first one speaks.
    """
    if stage == "code" or not _is_first():
        yield
        return
    name = stage_name(stage, model)
    if position := describe_position(layout, name):
        print(f"{name}: {position}", flush=True)
    started = time.monotonic()
    yield
    keep_seconds(layout, name, time.monotonic() - started)


@contextmanager
def say_why(layout: Layout, stage: str, model: str | None) -> Iterator[None]:
    """Prints one line on what changed since the stage last ran to its end here; nothing if it never did.

    Says nothing of `code` and `publish`, which run each time. Of several processes the first one speaks.
    """
    body = _body(layout, stage)
    if _code(stage) not in body.get("deps", []) or not _is_first():
        yield
        return
    now, file = stage_inputs(layout, stage, model), layout.last_inputs(stage, model)
    if before := read_inputs(file):
        found = differences(now, before)
        why = first_few(found, _SHOWN) if found else "its results are missing, or it was asked to"
        print(f"{stage}{f' {model}' if model else ''} runs again: {why}", flush=True)
    yield
    write_json(file, now)


def read_inputs(path: Path) -> Inputs:
    """Inputs that were written down; none where there is no such file or it is damaged, since nothing depends on it."""
    if not path.is_file():
        return {}
    try:
        return _INPUTS.validate_json(path.read_bytes())
    except ValidationError:
        return {}


def _code(stage: str) -> str:
    """Where `code` writes what computes a stage's results, as `dvc.yaml` names it."""
    return Layout(Path()).code(stage).as_posix()


def _body(layout: Layout, stage: str) -> dict[str, Any]:
    """What `dvc.yaml` says of a stage; nothing of one it does not have."""
    body = read_yaml(layout.root / DVC_YAML).get("stages", {}).get(stage, {})
    return dict(body.get("do", body))


def _digest(layout: Layout, path: str) -> str:
    """Of a file its sha256; of a folder what `dvc.lock` and `.dvc` files say of it and of what lies in it."""
    place = layout.root / path
    if place.is_file():
        return sha256_file(place)
    pin = layout.root / f"{path}.dvc"
    if pin.is_file():
        return sha256_file(pin)
    stages = read_yaml(layout.root / DVC_LOCK).get("stages", {}).values()
    outs = [out for stage in stages for out in stage.get("outs", []) if f"{out['path']}/".startswith(f"{path}/")]
    return " ".join(sorted(str(out.get("md5")) for out in outs))
