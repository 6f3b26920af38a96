"""What 10^5 to 10^8 images, 10 or 1,000 trials, 1 or 64 machines would cost: `python -m benchmarks.scale_model`.

Unit costs are measured on this machine (`scale_units`) or read with `--units FILE`, a schedule of the DAG's stages is
simulated with them, and time, bytes and money follow. Parts of a stage that can run side by side do, what is serial is
serial, whoever asks for a trial waits for the batch before. Machines share one store, which serves one of them at a
time. A training takes a whole machine, whose cores are taken to add up: times are a lower bound where they do not.
`--project` names a folder where `dvc repro` of the default experiment has run: the model is compared with it.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.scale_units import Units, measure_units
from benchmarks.schedule import Cluster, Task, simulate
from podium.curation.near_duplicates.approximate import EXACT_UP_TO

IMAGES, TRIALS, NODES = (10**5, 10**6, 10**7, 10**8), (10, 1000), (1, 64)
TRAIN, VAL, TEST = 0.7, 0.15, 0.15  # shares of images
FITTING = TRAIN + VAL
TRIAL_EPOCHS, EPOCHS = 2, 6  # as in the default experiment
METRICS = 5  # values that MLflow is told of an epoch
BATCHES = 5  # of a study, which draws from what those before found
PARTS, PART_IMAGES = 1024, 320  # of decoding: at most so many, of at least so many images
CELLS, PROBED = 6, 128  # of the index: cells by the root of the images, and those that a query looks into
KMEANS = 5 * 64  # products that a cell of it costs with each other one
PERTURBED = 128 * 18  # images that `evaluate` asks about besides
VERIFY = 8.4e-4  # seconds an image: candidates for near duplicates (docs/results.md, duplicate_groups: 42 s of 2 cores)
REPORT = 3.4e-4  # seconds a test image: metrics, slices, plots (docs/results.md, evaluate_speed)
MEMORY_BYTES = 5_150  # of `preprocess` an image (docs/results.md, preprocess_memory)
KEY_BYTES = 10_000  # of keypoints' keys an image, while near duplicates are sought
COPIES = 2  # of what DVC keeps: in the folder and in its cache, where the file system cannot share blocks
STARTS = {"fetch": 0.7, "preprocess": 1.1, "tune": 4.4, "train": 3.6, "evaluate": 3.6}  # seconds (stage_start)
MODELLED = {**{stage: stage for stage in STARTS}, "decode": "preprocess", "near duplicates": "preprocess"}
MODELLED["write shards"] = "preprocess"
WITHIN = 1.5


@dataclass(frozen=True)
class Experiment:
    """What is run: images, trials of each study, architectures, pixels a side, kind of images."""

    images: int
    trials: int
    models: Sequence[str] = ("resnet18", "resnet18")
    side: int = 224
    kind: str = "photograph"

    @property
    def pixel_bytes(self) -> float:
        """Of all prepared images."""
        return float(self.images * 3 * self.side**2)


@dataclass
class Plan:
    """The tasks of an experiment, in the order of `dvc.yaml`."""

    units: Units
    experiment: Experiment
    cluster: Cluster
    tasks: list[Task] = field(default_factory=list)

    def make(self) -> list[Task]:
        """All of them."""
        begin = self._prepare()
        judged = [number for model in self.experiment.models for number in self._learn(model, begin)]
        compared = self._add("compare", self.units.stages.get("compare", 0.0), judged)
        runs = len(self.experiment.models) * self.experiment.trials
        trials = runs * (self.units.mlflow.run + TRIAL_EPOCHS * METRICS * self.units.mlflow.metric)
        self._add("publish", self.units.stages.get("publish", 0.0) + trials, [compared])
        return self.tasks

    def _add(self, stage: str, seconds: float, needs: Sequence[int], moved_bytes: float = 0.0) -> int:
        """Adds a task; returns its number."""
        self.tasks.append(Task(stage, seconds, needs, moved_bytes / self.cluster.store))
        return len(self.tasks) - 1

    def _prepare(self) -> int:
        """Everything until images may be learned from; returns the last task."""
        units, count, pixels = self.units, self.experiment.images, self.experiment.pixel_bytes
        image = units.images[self.experiment.kind]
        originals, signatures, hashed = count * image.file_bytes, count * units.signature_bytes, image.hash_byte
        fetched = self._add("fetch", STARTS["fetch"] + count * image.fetch, (), 2 * originals)
        tracked = self._add("dvc", originals * units.dvc.byte, [fetched])
        parts = max(1, min(PARTS, count // PART_IMAGES))
        decode = count * image.prepare / self.cluster.cores / parts
        moved = (originals + pixels + signatures) / parts
        decoded = [self._add("decode", decode, [tracked], moved) for _ in range(parts)]
        search = count**2 if count <= EXACT_UP_TO else products(count)
        group = (search * units.search_pair + count * VERIFY) / min(2, self.cluster.cores)
        grouped = self._add("near duplicates", group, decoded, signatures)
        write = STARTS["preprocess"] + count * units.rows.split + pixels * hashed
        written = self._add("write shards", write, [grouped], 2 * pixels)
        tracked = self._add("dvc", pixels * units.dvc.byte, [written])
        check = units.stages.get("validate", 0.0) + count * units.rows.validate + FITTING * pixels * hashed
        return self._add("validate", check, [tracked], FITTING * pixels)

    def _learn(self, model: str, begin: int) -> list[int]:
        """The study, the training and the judgement of one model; returns `evaluate` and `explain`."""
        units, experiment, cluster = self.units, self.experiment, self.cluster
        count, pixels = experiment.images, experiment.pixel_bytes
        network = units.networks[f"{model} {experiment.side}"]
        step, answer = network.step / cluster.cores, network.answer / cluster.cores
        if cluster.gpu:
            step, answer = 1 / cluster.gpu, 1 / (3 * cluster.gpu)
        epoch = count * (TRAIN * step + VAL * answer) + units.epoch.epoch
        ended, done, start = [begin], 0, STARTS["tune"]
        while done < experiment.trials:
            batch = min(max(1, experiment.trials // BATCHES), experiment.trials - done)
            ask = units.ask.trial + done * units.ask.earlier  # a trial also asks for those before it in its batch
            seconds = [start + (n + 1) * ask + TRIAL_EPOCHS * epoch + units.record for n in range(batch)]
            ended = [self._add("tune", each, ended, FITTING * pixels) for each in seconds]
            done, start = done + batch, 0.0
        train = STARTS["train"] + EPOCHS * (epoch + units.epoch.checkpoint)
        trained = self._add("train", train, ended, FITTING * pixels)
        asked = (count * (VAL + TEST) + PERTURBED) * answer + count * TEST * REPORT
        judged = self._add("evaluate", STARTS["evaluate"] + asked, [trained], (VAL + TEST) * pixels)
        return [judged, self._add("explain", units.stages.get("explain", 0.0) / 2, [judged])]


def products(count: int) -> float:
    """Products of vectors that the index takes, in place of the square that the exact search takes twice."""
    cells = CELLS * count**0.5
    return float(count * (cells + PROBED * count / cells) + KMEANS * cells**2 / 2)


def compare(units: Units) -> float:
    """Prints the stages of the default experiment as modelled and as measured; returns the largest ratio of two."""
    tasks = Plan(units, Experiment(1806, 3, ("resnet18", "convnext_atto"), 64, "sample"), Cluster(cores=2)).make()
    modelled = dict.fromkeys((*STARTS, ""), 0.0)
    for task in tasks:
        modelled[MODELLED.get(task.stage, "")] += task.seconds + task.moved
    ratios = {stage: modelled[stage] / units.stages[stage] for stage in STARTS}
    print("\n| stage | modelled s | measured s | ratio |\n|---|---|---|---|")
    for stage, ratio in ratios.items():
        print(f"| {stage} | {modelled[stage]:.1f} | {units.stages[stage]:.1f} | {ratio:.2f} |")
    return max(max(ratio, 1 / ratio) for ratio in ratios.values())


def duration(seconds: float) -> str:
    """For people."""
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.{0 if seconds >= 20 * size else 1}f} {unit}"
    return f"{seconds:.0f} s"


def print_bytes(units: Units, price: float) -> None:
    """A line a size: what lies on disks and in memory, and how long DVC looks at as many files, new and known ones."""
    print("\n| images | originals | kept, 64 px | kept, 224 px | a month | temporary, 224 px | memory | new | known |")
    print(f"|{'---|' * 9}")
    for count in IMAGES:
        originals = count * units.images["photograph"].file_bytes
        small, large = (Experiment(count, 0, side=side).pixel_bytes for side in (64, 224))
        kept = [COPIES * (2 * originals + pixels) for pixels in (small, large)]
        temporary = large + count * (units.signature_bytes + KEY_BYTES)
        cells = [f"{size / 1e12:,.3g} TB" for size in (originals, *kept)]
        cells += [f"${kept[1] / 1e12 * price:,.0f}", f"{temporary / 1e12:,.3g} TB"]
        cells.append(f"{count * MEMORY_BYTES / 1e9:,.3g} GB")
        cells += [duration(count * seconds) for seconds in (units.dvc.new_file, units.dvc.known_file)]
        print(f"| {count:,} | {' | '.join(cells)} |")


def print_times(units: Units, options: argparse.Namespace) -> list[dict[str, object]]:
    """A line a case: time, money and bottleneck for 64 px and 224 px on cores, and 224 px on GPUs."""
    print("\n| images | trials | machines | 64 px, cores | 224 px, cores | 224 px, a GPU each |")
    print("|---|---|---|---|---|---|")
    cases: list[dict[str, object]] = []
    for count, trials, nodes in product(IMAGES, TRIALS, NODES):
        cells = []
        for side, gpu in ((64, 0.0), (224, 0.0), (224, options.gpu_images_per_second)):
            cluster = Cluster(nodes, options.cores, gpu, options.store * 1e9, options.start_up)
            found = simulate(Plan(units, Experiment(count, trials, side=side), cluster).make(), cluster)
            hourly = options.gpu_hour if gpu else options.cores * options.core_hour
            money = found.seconds / 3600 * nodes * hourly
            cells.append(f"{duration(found.seconds)}, ${money:,.0f}: {found.bottleneck}")
            case = {"images": count, "trials": trials, "nodes": nodes, "side": side, "gpu": bool(gpu)}
            cases.append({**case, "seconds": round(found.seconds), "money": round(money), "most": found.bottleneck})
        print(f"| {count:,} | {trials:,} | {nodes} | {' | '.join(cells)} |", flush=True)
    return cases


def main() -> None:
    """Prints units, tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=Path, help="a file as --save writes it, instead of measuring")
    parser.add_argument("--save", type=Path, help="file for the units")
    parser.add_argument("--project", type=Path, help="where the default experiment has run")
    parser.add_argument("--cores", type=int, default=16, help="of a machine")
    parser.add_argument("--store", type=float, default=1.0, help="GB a second of the shared store")
    parser.add_argument("--start-up", type=float, default=60.0, help="seconds until a machine works")
    parser.add_argument("--gpu-images-per-second", type=float, default=2000.0, help="that train; assumed, not measured")
    parser.add_argument("--core-hour", type=float, default=0.04, help="price; an example, as the others")
    parser.add_argument("--gpu-hour", type=float, default=2.0, help="price, with the cores beside the GPU")
    parser.add_argument("--tb-month", type=float, default=20.0, help="price of a TB kept for a month")
    options = parser.parse_args()
    if options.units:
        units = TypeAdapter(Units).validate_json(options.units.read_bytes())
    else:
        begun = time.process_time()
        units = measure_units(options.project)
        print(f"units measured in {time.process_time() - begun:.0f} s of the processor")
    if options.save:
        options.save.write_text(json.dumps(asdict(units), indent=2), encoding="utf-8")
    print(json.dumps(asdict(units), indent=2))
    farthest = compare(units) if units.stages else None
    print_bytes(units, options.tb_month)
    cases = print_times(units, options)
    line = {
        "claim": "the stages of the default experiment take what the model says",
        "baseline": "measured stage times",
        "figure": farthest,
        "target": WITHIN,
        "holds": farthest is not None and farthest <= WITHIN,
        "unit": "largest ratio of the two",
    }
    print(json.dumps({**line, "cases": cases}))


if __name__ == "__main__":
    main()
