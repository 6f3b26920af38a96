"""Sides of the benchmarks of frozen layers, in processes of their own: `python -m benchmarks.frozen_sides SIDE FILE`.

| side | what |
|---|---|
| `podium-recipe` | the engine: frozen layers once per view, then the rest alone; bfloat16, channels_last |
| `plain-recipe` | ImageFolder, torchvision v2 on each image, two workers, float32; frozen layers without gradient |
| `podium-study` | trials of the learning rate with pruning, then a training run, all from the same kept views |
| `plain-study` | as many trials of the same sampler over the same range, none given up, then a training run, as above |

Both networks begin with the same weights and freeze the same blocks, which stay in evaluation mode. The last line
printed is JSON.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from optuna import TrialPruned
from torch import nn

from benchmarks.sides import (
    DECAY,
    MEAN,
    SMOOTHING,
    STD,
    WORKERS,
    Task,
    chosen,
    in_own_process,
    loaders,
    recipe,
    share_of_rate,
    used_cpu_seconds,
)
from podium.config.models import ModelConfig
from podium.config.runtime import Resources, Runtime
from podium.config.train import Range, Train, Tune
from podium.core.errors import Diverged
from podium.data.shards import open_for_fitting
from podium.models import zoo
from podium.models.callbacks import Callback
from podium.models.checkpoint import FitResult
from podium.models.compute import Compute
from podium.models.engine import fit
from podium.models.freezing import Plan
from podium.models.job import ActivationCache, Job, apply_values, rescale_schedule
from podium.models.study import Study, Trial
from podium.records.training import EpochResult, TrialResult

RATE = "train.learning_rate"
Side = Literal["podium-recipe", "plain-recipe", "podium-study", "plain-study"]


@dataclass(frozen=True)
class Frozen:
    """What the sides have to do.

    Attributes:
        prepared: folder with the splits as `preprocess` writes them.
        files: the same images as files, one folder a class.
        architecture: of the network.
        weights: a safetensors file with its first weights; None = random ones.
        image_size: pixels a side.
        batch_size: images a step.
        threads: of torch.
        views: changed versions of each image that Podium takes in turn.
        epochs: of the training run.
        trials: of the study.
        trial_epochs: of each trial.
        low: end of the range of learning rates.
        high: end of the range of learning rates.
        seed: of everything random.
    """

    prepared: str
    files: str
    architecture: str
    weights: str | None
    image_size: int
    batch_size: int
    threads: int
    views: int
    epochs: int
    trials: int = 0
    trial_epochs: int = 1
    low: float = 1e-5
    high: float = 1e-2
    seed: int = 0

    def task(self, epochs: int, rate: float = 1e-3) -> Task:
        """As the sides without frozen layers know it."""
        return Task(self.prepared, self.files, self.image_size, self.batch_size, epochs, self.threads, self.seed, rate)

    def config(self, epochs: int) -> ModelConfig:
        """As Podium knows it: the last stage and the head learn."""
        followed: Train = recipe(self.task(epochs)).model_copy(update={"views": self.views})
        return ModelConfig(architecture=self.architecture, trainable="last_stage", train=followed)

    def network(self) -> nn.Module:
        """With its first weights."""
        classes = len(open_for_fitting(Path(self.prepared), "train").classes)
        module = zoo.create(self.config(1), classes, self.seed)
        if self.weights is not None:
            zoo.load_pretrained(module, Path(self.weights))
        return module


@dataclass(frozen=True)
class Spent:
    """What a side took: after each epoch, since the start, and at its highest; accuracies of validation by epoch."""

    seconds: list[float]
    cpu_seconds: list[float]
    accuracy: list[float]
    peak_bytes: int
    trials: int = 0
    pruned: int = 0
    learning_rate: float = 0.0


def run(side: Side, frozen: Frozen) -> Spent:
    """Runs a side in a process of its own.

    Raises:
        RuntimeError: it failed; the message holds what it printed.
    """
    return Spent(**in_own_process("benchmarks.frozen_sides", side, json.dumps(asdict(frozen))))


class _Clock(Callback):
    """Notes when each epoch was over."""

    def __init__(self) -> None:
        self._start, self._cpu_start = time.perf_counter(), used_cpu_seconds()
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.accuracy: list[float] = []

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        self.epoch(row.val_accuracy)

    def epoch(self, accuracy: float) -> None:
        self.seconds.append(time.perf_counter() - self._start)
        self.cpu_seconds.append(used_cpu_seconds() - self._cpu_start)
        self.accuracy.append(accuracy)

    def spent(self, trials: Sequence[str] = (), rate: float = 0.0) -> Spent:
        own, workers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        peak = 1024 * (own + WORKERS * workers)
        given_up = sum(state != "finished" for state in trials)
        return Spent(self.seconds, self.cpu_seconds, self.accuracy, peak, len(trials), given_up, rate)


@dataclass(frozen=True)
class _Pruning(Callback):
    """Lets the study end a trial."""

    trial: Trial

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        self.trial.report(row)


def _podium_recipe(frozen: Frozen) -> Spent:
    with tempfile.TemporaryDirectory() as folder:
        clock = _Clock()
        _fitted(frozen, frozen.config(frozen.epochs), Path(folder), clock)
        return clock.spent()


def _podium_study(frozen: Frozen) -> Spent:
    tune = Tune(trials=frozen.trials, epochs=frozen.trial_epochs, search={})
    study = Study(
        frozen.config(frozen.epochs), {RATE: Range(low=frozen.low, high=frozen.high, log=True)}, tune, frozen.seed
    )
    results: list[TrialResult] = []
    with tempfile.TemporaryDirectory() as folder:
        clock = _Clock()
        while len(results) < frozen.trials:
            trial = study.ask(results, len(results))
            candidate = apply_values(study.config, trial.parameters)
            candidate = candidate.model_copy(update={"train": rescale_schedule(candidate.train, tune.epochs)})
            state: Literal["finished", "pruned", "diverged"] = "finished"
            try:
                _fitted(frozen, candidate, Path(folder), _Pruning(trial))
            except (TrialPruned, Diverged) as ended:
                state = "pruned" if isinstance(ended, TrialPruned) else "diverged"
            results.append(trial.result(state))
        best = min((row.val_loss, result.number) for result in results for row in result.epochs)[1]
        final = apply_values(study.config, results[best].parameters)
        _fitted(frozen, final, Path(folder), clock)
    return clock.spent([result.state for result in results], final.train.learning_rate)


def _fitted(frozen: Frozen, config: ModelConfig, folder: Path, callback: Callback) -> FitResult:
    runtime = Runtime(threads=frozen.threads, dtype="bfloat16", channels_last=True)
    train, val = (open_for_fitting(Path(frozen.prepared), split) for split in ("train", "val"))
    cache = ActivationCache(folder, Resources().cache_gib, {})
    job = Job("podium", train, val, config, MEAN, STD, Compute.of(runtime), frozen.seed, cache)
    return fit(job, frozen.network(), [callback])


def _plain_recipe(frozen: Frozen) -> Spent:
    clock = _Clock()
    for _, accuracy in _plain(frozen, frozen.epochs, 1e-3):
        clock.epoch(accuracy)
    return clock.spent()


def _plain_study(frozen: Frozen) -> Spent:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    clock = _Clock()
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=frozen.seed, n_startup_trials=3))
    study.enqueue_trial({RATE: 1e-3})  # Podium's first guess

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float(RATE, frozen.low, frozen.high, log=True)
        return min(loss for loss, _ in _plain(frozen, frozen.trial_epochs, rate))

    study.optimize(objective, n_trials=frozen.trials)
    rate = study.best_params[RATE]
    for _, accuracy in _plain(frozen, frozen.epochs, rate):
        clock.epoch(accuracy)
    return clock.spent(["finished"] * frozen.trials, rate)


def _plain(frozen: Frozen, epochs: int, rate: float) -> Iterator[tuple[float, float]]:
    """The straightforward loop; yields validation loss and accuracy after each epoch."""
    torch.manual_seed(frozen.seed)
    task = frozen.task(epochs, rate)
    train, val = loaders(task, expert=False)
    network = frozen.network()
    still = Plan.of(network, frozen.config(1), frozen.image_size).frozen or nn.Sequential()
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, rate, weight_decay=DECAY)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_rate(task, len(train)))
    smoothed, exact = nn.CrossEntropyLoss(label_smoothing=SMOOTHING), nn.CrossEntropyLoss(reduction="sum")
    for _ in range(epochs):
        network.train()
        still.eval()
        for x, y in train:
            optimizer.zero_grad()
            smoothed(network(x), y).backward()
            optimizer.step()
            scheduler.step()
        network.eval()
        loss, right, count = 0.0, 0, 0
        with torch.no_grad():
            for x, y in val:
                logits = network(x)
                loss += exact(logits, y).item()
                right += int((logits.argmax(1) == y).sum())
                count += len(y)
        yield loss / count, right / count


SIDES: dict[Side, Callable[[Frozen], Spent]] = {
    "podium-recipe": _podium_recipe,
    "plain-recipe": _plain_recipe,
    "podium-study": _podium_study,
    "plain-study": _plain_study,
}


def main(name: str, file: str) -> None:
    """Runs a side in this process and prints what it took."""
    work = chosen(SIDES, name)
    frozen = Frozen(**json.loads(Path(file).read_text(encoding="utf-8")))
    torch.set_num_threads(frozen.threads)
    print(json.dumps(asdict(work(frozen))))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
