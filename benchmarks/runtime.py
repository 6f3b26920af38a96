"""Which precision and memory layout trains the models of a project fastest: `python -m benchmarks.runtime`.

A few real training steps of every model with every setting, all settings in turn, so that what else the machine does
meets all of them. Nothing is changed: the lines to write under `runtime` of params.yaml are printed.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.scratch import restart_with
from benchmarks.trial_steps import WARM_UP, Speed, measure, quicker, random_images, trial_job
from podium.config.models import ModelConfig
from podium.config.params import Params, load
from podium.config.runtime import Runtime
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.data.shards import PreparedSplit, open_for_fitting

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
        """`bfloat16`, `float32+channels_last`."""
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
    """The whole measurement: speeds by model and setting; `present` is the setting in force."""

    present: str
    speeds: Mapping[str, Mapping[str, Speed]]

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


def images_of(layout: Layout, params: Params) -> tuple[PreparedSplit, bool]:
    """What to train on, and whether it is real.

    Returns:
        The prepared training images; noise of the same size where there are none, or they have another size.
    """
    size = params.preprocess.image_size
    try:
        split = open_for_fitting(layout.prepared, "train")
    except DataError:
        split = None
    if split is not None and split.preprocessing.image_size == size:
        return split, True
    largest = max(config_of(params, name).train.batch_size for name in params.models)
    return random_images(largest * (WARM_UP + 1), size), False


def config_of(params: Params, model: str) -> ModelConfig:
    """What is measured: the model's section, with smaller steps on a CPU."""
    config = params.complete(model)
    if params.runtime.device != "cpu":
        return config
    recipe = config.train
    smaller = recipe.model_copy(update={"batch_size": min(recipe.batch_size, CPU_IMAGES), "micro_batch_size": None})
    return config.model_copy(update={"train": smaller})


def measure_all(params: Params, images: PreparedSplit, seconds: float) -> Measured:
    """Measures every model with every setting, `PASSES` times `seconds` each."""
    speeds: dict[str, dict[str, Speed]] = {name: {} for name in params.models}
    for model in params.models:
        for _ in range(PASSES):
            for name, setting in SETTINGS.items():
                job = trial_job(config_of(params, model), images, setting.of(params.runtime), params.seed)
                speeds[model][name] = quicker(speeds[model].get(name), measure(job, seconds))
    return Measured(Setting(params.runtime.dtype, params.runtime.channels_last).name, speeds)


def report(params: Params, measured: Measured) -> dict[str, object]:
    """Prints the speeds and what to do about them.

    Returns:
        The same as one JSON value.
    """
    present, best = measured.present, measured.recommended
    for model, of_model in measured.speeds.items():
        print(f"{model}, {config_of(params, model).train.batch_size} images a step")
        for name, speed in of_model.items():
            ratio = speed.images_per_second / of_model[present].images_per_second
            memory = "" if speed.peak_bytes is None else f"  {speed.peak_bytes / 2**30:.2f} GiB"
            print(f"  {name:<24}{speed.images_per_second:9.1f} images/s  x{ratio:.2f}{memory}")
    print("all models together")
    for name, rate in measured.together.items():
        print(f"  {name:<24}{rate:9.1f} images/s  x{rate / measured.together[present]:.2f}")
    if best == present:
        print(f"keep {present}: with no other setting are all models together more than {WORTH_IT - 1:.0%} faster")
    else:
        setting = SETTINGS[best]
        print(
            f"recommended: {best}; write under `runtime` of params.yaml `dtype: {setting.dtype}` and "
            f"`channels_last: {str(setting.channels_last).lower()}`; it rounds otherwise, so `dvc repro` then tunes "
            "and trains every model again"
        )
    return {
        "claim": "the setting in force trains all models together as fast as any other, within the noise",
        "baseline": present,
        "figure": measured.together,
        "recommended": best,
        "best": {model: measured.best(model) for model in measured.speeds},
        "target": WORTH_IT,
        "holds": best == present,
        "unit": "images per second",
    }


def main() -> int:
    """Prints a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=Path(), help="folder with params.yaml")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each model with each setting, twice")
    options = parser.parse_args()
    layout = Layout(options.project.resolve())
    params = load(layout.params)
    restart_with(params.runtime)
    images, real = images_of(layout, params)
    what = "prepared training images" if real else "random images (nothing is prepared in this size)"
    size, runtime = images.preprocessing.image_size, params.runtime
    print(f"training steps on {runtime.device}, {runtime.threads} threads, {what} of {size} px")
    print(json.dumps(report(params, measure_all(params, images, options.seconds))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
