"""`podium runtime`: how fast the models train with which precision and memory layout, and putting one in force."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer
import yaml

from podium.cli.params_text import with_runtime
from podium.config.contender import Contender
from podium.config.params import Params, load
from podium.config.problems import nearest
from podium.config.runtime import Runtime
from podium.console.progress import show_progress
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import DataError, ParamsError, UsageError
from podium.core.files import replacing
from podium.core.layout import Layout

if TYPE_CHECKING:
    from podium.analysis.trial_run import Speed
    from podium.data.shards import PreparedSplit

WORTH_IT = 1.05
"""How much faster a setting has to be before it is recommended: less is within the noise of measuring."""
CPU_IMAGES = 32
"""Images of one step on a CPU, at most: more take longer to measure and are no faster per image."""
PASSES = 2


@dataclass(frozen=True)
class Setting:
    """A precision and a memory layout."""

    dtype: Literal["float32", "bfloat16"]
    channels_last: bool

    @property
    def name(self) -> str:
        """As `--write` takes it: `bfloat16`, `float32+channels_last`."""
        return f"{self.dtype}+channels_last" if self.channels_last else self.dtype

    def of(self, runtime: Runtime) -> Runtime:
        """The runtime with this setting."""
        return runtime.model_copy(update={"dtype": self.dtype, "channels_last": self.channels_last})


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("float32", False),
        Setting("float32", True),
        Setting("bfloat16", False),
        Setting("bfloat16", True),
    )
}


@dataclass(frozen=True)
class Measured:
    """The whole measurement: speeds by model and setting."""

    present: str
    speeds: Mapping[str, Mapping[str, "Speed"]]

    @property
    def together(self) -> dict[str, float]:
        """Images per second by setting when every model trains on as many images."""
        return {
            name: len(self.speeds) / sum(1 / of_model[name].images_per_second for of_model in self.speeds.values())
            for name in SETTINGS
        }

    @property
    def recommended(self) -> str:
        """The setting with which all models together are quickest; the present one unless that is worth a change."""
        together = self.together
        best = max(together, key=lambda name: together[name])
        return best if together[best] > WORTH_IT * together[self.present] else self.present

    def best(self, model: str) -> str:
        """The quickest setting of one model."""
        return max(SETTINGS, key=lambda name: self.speeds[model][name].images_per_second)


def runtime(
    write: Annotated[
        str | None,
        typer.Option("--write", metavar="SETTING", help="Measure nothing; put this setting into params.yaml."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, help="To measure for: each model with each setting, twice.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure training steps of every model with every precision and memory layout, and recommend one for all."""
    layout = project()
    params = load(layout.params)
    if write is not None:
        if as_json:
            raise UsageError("--write measures nothing, so there is nothing to print: leave --json out")
        _write(layout, params, write)
        return
    images, real = _images(layout, params)
    measured = _measure(params, images, seconds, silent=as_json)
    if as_json:
        print_json(_document(params, measured, images, real))
    else:
        _print(params, measured, images, real)


def _images(layout: Layout, params: Params) -> tuple["PreparedSplit", bool]:
    """The prepared training images; noise of the same size where there are none, or they have another size."""
    from podium.analysis.trial_run import WARM_UP, random_images
    from podium.data.shards import open_for_fitting

    size = params.preprocess.image_size
    try:
        split = open_for_fitting(layout.prepared, "train")
    except DataError:
        split = None
    if split is not None and split.preprocessing.image_size == size:
        return split, True
    largest = max(_contender(params, name).train.batch_size for name in params.models)
    return random_images(largest * (WARM_UP + 1), size), False


def _contender(params: Params, model: str) -> Contender:
    """What is measured: the model's section, with smaller steps on a CPU."""
    contender = params.contender(model)
    if params.runtime.device != "cpu":
        return contender
    recipe = contender.train
    smaller = recipe.model_copy(update={"batch_size": min(recipe.batch_size, CPU_IMAGES), "micro_batch_size": None})
    return contender.model_copy(update={"train": smaller})


def _measure(params: Params, images: "PreparedSplit", seconds: float, *, silent: bool) -> Measured:
    """Measures every model with every setting; `silent` shows no progress."""
    from podium.analysis.trial_run import Speed, measure, quicker, trial_job

    speeds: dict[str, dict[str, Speed]] = {name: {} for name in params.models}

    def run(advance: Callable[[int], None]) -> None:
        for model in params.models:
            contender = _contender(params, model)
            for _ in range(PASSES):  # all settings in turn, so that what else the machine does meets all of them
                for name, setting in SETTINGS.items():
                    job = trial_job(contender, images, setting.of(params.runtime), params.seed)
                    speeds[model][name] = quicker(speeds[model].get(name), measure(job, seconds))
                    advance(1)

    if silent:
        run(lambda _: None)
    else:
        total = PASSES * len(SETTINGS) * len(params.models)
        with show_progress("podium runtime", total, unit="steps", transient=True) as advance:
            run(advance)
    return Measured(_present(params), speeds)


def _present(params: Params) -> str:
    """Name of the setting in force."""
    return Setting(params.runtime.dtype, params.runtime.channels_last).name


def _document(params: Params, measured: Measured, images: "PreparedSplit", real: bool) -> dict[str, object]:
    """What `--json` prints."""
    recommended = measured.recommended
    return {
        "device": params.runtime.device,
        "threads": params.runtime.threads,
        "image_size": images.preprocessing.image_size,
        "images": "prepared" if real else "random",
        "present": measured.present,
        "rows": [
            {
                "model": model,
                "setting": name,
                "images_per_step": _contender(params, model).train.batch_size,
                "images_per_second": speed.images_per_second,
                "memory_bytes": speed.peak_bytes,
                "ratio": speed.images_per_second / of_model[measured.present].images_per_second,
            }
            for model, of_model in measured.speeds.items()
            for name, speed in of_model.items()
        ],
        "best": {model: measured.best(model) for model in measured.speeds},
        "together": measured.together,
        "recommended": recommended,
        "command": None if recommended == measured.present else _command(recommended),
    }


def _print(params: Params, measured: Measured, images: "PreparedSplit", real: bool) -> None:
    """Prints the table, then what to do about it."""
    from rich.filesize import decimal

    size, threads = images.preprocessing.image_size, params.runtime.threads
    what = "prepared training images" if real else "random images (nothing is prepared yet)"
    print(f"Training steps on {params.runtime.device}, {threads} threads, {what} of {size} px\n")
    shown = table("model", "setting", "images/s", "memory", "speed", "", right=("images/s", "memory", "speed"))
    for model, of_model in measured.speeds.items():
        now = of_model[measured.present].images_per_second
        for name, speed in of_model.items():
            memory = "-" if speed.peak_bytes is None else decimal(speed.peak_bytes)
            add_row(
                shown,
                f"{model}, {_contender(params, model).train.batch_size} a step" if name == next(iter(of_model)) else "",
                name,
                f"{speed.images_per_second:.1f}",
                memory,
                f"x{speed.images_per_second / now:.2f}",
                _mark(name, measured.best(model), measured.present),
            )
        shown.add_section()
    together = measured.together
    for name, rate in together.items():
        add_row(
            shown,
            "all models together" if name == next(iter(together)) else "",
            name,
            f"{rate:.1f}",
            "",
            f"x{rate / together[measured.present]:.2f}",
            _mark(name, max(together, key=lambda other: together[other]), measured.present),
        )
    console().print(shown)
    _print_advice(measured)


def _mark(name: str, best: str, present: str) -> str:
    """What is special about a setting, in words; empty where nothing is."""
    return ", ".join(word for word, holds in (("quickest", name == best), ("in force", name == present)) if holds)


def _print_advice(measured: Measured) -> None:
    """Prints which setting to take and the command for it, or that there is no reason to change."""
    best, present = measured.recommended, measured.present
    if best == present:
        print(f"\nKeep {present}: with no other setting are all models together more than {WORTH_IT - 1:.0%} faster.")
        return
    ratio = measured.together[best] / measured.together[present]
    print(f"\nRecommended for all models: {best}, x{ratio:.2f}. Put it in force with\n\n  {_command(best)}\n")
    print("It rounds otherwise, so `dvc repro` then tunes and trains every model again.")
    others = [model for model in measured.speeds if measured.best(model) != best]
    if others:
        print(f"For {', '.join(others)} another one is quicker, but models that are compared share one.")


def _command(setting: str) -> str:
    return f"podium runtime --write {setting}"


def _write(layout: Layout, params: Params, name: str) -> None:
    """Puts a setting in force.

    Raises:
        UsageError: there is no such setting.
        ParamsError: it is in force already, or params.yaml is not written as one key a line.
    """
    if name not in SETTINGS:
        raise UsageError(f"setting {name!r} is not known{nearest(name, SETTINGS)}: choose one of {', '.join(SETTINGS)}")
    if name == _present(params):
        raise ParamsError(f"{name} is in force already: nothing was changed")
    wanted = SETTINGS[name].of(params.runtime)
    text = with_runtime(
        layout.params.read_bytes().decode("utf-8"),  # line ends as they are
        {"dtype": wanted.dtype, "channels_last": str(wanted.channels_last).lower()},
    )
    expected = params.model_copy(update={"runtime": wanted})
    if text is None or Params.model_validate(yaml.safe_load(text)) != expected:
        raise ParamsError(
            "params.yaml does not have its section runtime as one key a line: set there by hand "
            f"dtype: {wanted.dtype}, channels_last: {str(wanted.channels_last).lower()}"
        )
    with replacing(layout.params) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    print(f"{name} is in force. Next: dvc repro (it tunes and trains every model again)")
