"""What a training run is: two splits, a model with its recipe and first weights, a device, a seed. Nothing else counts.

The test split cannot be opened from here: `open_for_fitting` refuses its name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import nn

from podium.config.models import ModelConfig
from podium.config.problems import first_problem
from podium.config.runtime import Resources, Runtime
from podium.config.train import Train, Value
from podium.core.errors import ModelError, ParamsError
from podium.core.files import sha256_file
from podium.core.identity import stage_code
from podium.core.layout import MODEL_CARD, WEIGHTS, WEIGHTS_CARD, Layout
from podium.core.storage import Checkout, Storage
from podium.data.augment.parameters import Augmentation, draw
from podium.data.randomness import generator
from podium.data.shards import PreparedSplit, open_for_fitting
from podium.models import zoo
from podium.models.compute import Compute
from podium.records.base import Triple
from podium.records.fetch import WeightsRecord
from podium.records.training import ModelCard


@dataclass(frozen=True)
class ActivationCache:
    """Where the activations of frozen blocks are kept, and whose they are.

    Attributes:
        folder: of the model, shared by its trials and its training; or of all probes.
        gib: disk it may take; 0 = none.
        identity: what they depend on besides images, weights and changes, as JSON values.
    """

    folder: Path
    gib: float
    identity: Mapping[str, object]


@dataclass(frozen=True)
class Job:
    """One training run: a trial of a study, or the final one.

    Attributes:
        label: for people, e.g. `train resnet18`.
        train: images to learn from.
        val: images that pick the best epoch.
        config: the model's section, with tuned values applied.
        mean: normalisation per channel.
        std: normalisation per channel.
        compute: device, dtype, layout.
        seed: of the experiment.
        cache: of the frozen blocks.
        pretrained: where the first weights come from; None = they are random.
        pretrained_file: the first weights; None = they are random.
        teacher: the folder of the model that it learns from too; None = from the labels alone.
        teacher_card: of that model.
    """

    label: str
    train: PreparedSplit
    val: PreparedSplit
    config: ModelConfig
    mean: Triple
    std: Triple
    compute: Compute
    seed: int
    cache: ActivationCache
    pretrained: WeightsRecord | None = None
    pretrained_file: Path | None = None
    teacher: Path | None = None
    teacher_card: ModelCard | None = None

    @property
    def recipe(self) -> Train:
        """How it is trained."""
        return self.config.train

    @property
    def coarse_classes(self) -> tuple[str, ...]:
        """Coarse class of each class, in their order; "" where a class has none."""
        known = self.train.index.groupby("label")["group"].first()
        return tuple(str(known.get(label, "")) for label in self.train.classes)

    def draw_view(self, view: int) -> Augmentation:
        """How a view (from 0) changes the training images, one row each."""
        size = self.train.preprocessing.image_size
        return draw(self.recipe.augment, generator(self.seed, "view", view), len(self.train), size)

    def build(self) -> nn.Module:
        """The network with its first weights: the same for every call.

        Raises:
            ModelError: the architecture is unknown, the pretrained weights are not those that were fetched, or they or
                the images' size do not fit it.
        """
        side = self.train.preprocessing.image_size
        module = zoo.create(self.config, len(self.train.classes), self.seed, side)
        if self.config.init != "default":
            zoo.initialise(module, self.config.init, self.seed)
        path = self.pretrained_file
        if self.pretrained is not None and path is not None:
            found = sha256_file(path) if path.is_file() else "missing"
            if found != self.pretrained.stored_sha256:
                raise ModelError(
                    f"{path} has sha256 {found}, but {WEIGHTS_CARD} says {self.pretrained.stored_sha256}: these are "
                    "not the weights that were fetched; run `dvc repro -f fetch`"
                )
            zoo.load_pretrained(module, path)
        zoo.flops(module, side)  # refuses a size the network cannot take
        return module

    def identity(self, layout: Layout, stage: str) -> dict[str, object]:
        """The parts of a fingerprint that tune and train share; the source code of `stage` counts."""
        return {
            "data": {"train": self.train.digest, "val": self.val.digest},
            "model": self.config.model_dump(mode="json"),
            # the digests say all that counts of a file; its source names the hub's commit, which moves on without it
            "pretrained": self.pretrained and self.pretrained.model_dump(mode="json", exclude={"source"}),
            "teacher": self.teacher_card and self.teacher_card.fingerprint,
            "seed": self.seed,
            "runtime": self.compute.identity,
            "code": stage_code(layout.root, stage).json(),
        }


def open_job(
    layout: Layout, label: str, model: str, config: ModelConfig, *, runtime: Runtime, resources: Resources, seed: int
) -> Job:
    """Opens train and val and checks that the network fits the images, before any time is spent; no pixels are read.

    `model` is a key of `models` in the params, `config` its section, `label` for people; torch's threads are set.

    Raises:
        DataError: a split or the fetched weights are missing or damaged.
        ModelError: the architecture is unknown, or is not the one the weights were fetched for.
    """
    train, val = open_for_fitting(layout.prepared, "train"), open_for_fitting(layout.prepared, "val")
    folder = layout.weights / model
    pretrained = WeightsRecord.read(folder / WEIGHTS_CARD)
    if pretrained.architecture != config.architecture:
        raise ModelError(
            f"{folder} holds weights of {pretrained.architecture}, but models.{model}.architecture is "
            f"{config.architecture}: run `dvc repro fetch`"
        )
    mean, std = zoo.normalisation(config.architecture)
    if pretrained.mean is not None and pretrained.std is not None:
        mean, std = pretrained.mean, pretrained.std
    teacher = None if config.distil is None else layout.teacher(model)
    # the code of train counts in tune too, so that trials and training share what is kept
    code = stage_code(layout.root, "train").json()
    identity = {"architecture": config.architecture, "runtime": runtime.model_dump(), "code": code}
    return Job(
        label=label,
        train=train,
        val=val,
        config=config,
        mean=mean,
        std=std,
        compute=Compute.of(runtime),
        seed=seed,
        cache=ActivationCache(
            layout.probe_features if config.is_probe else layout.features(model), resources.cache_gib, identity
        ),
        pretrained=pretrained,
        pretrained_file=None if pretrained.weights == "none" else folder / WEIGHTS,
        teacher=teacher,
        teacher_card=None if teacher is None else _read_teacher(teacher, model, config, train),
    )


def upload_inputs(
    storage: Storage, layout: Layout, model: str, config: ModelConfig, further: Iterable[Path] = ()
) -> Checkout:
    """What a machine needs that does not see the project's folder: all that `open_job` and `Job.identity` read there.

    Args:
        storage: where to put it.
        layout: the project's paths.
        model: a key of `models` in the params.
        config: its section.
        further: other files and folders of the project.

    Raises:
        DataError: something is missing, or the storage cannot be used.
    """
    read = [layout.root / "stages", layout.prepared / "train", layout.prepared / "val", layout.weights / model]
    teacher = [] if config.distil is None else [layout.teacher(model)]
    return Checkout(storage, storage.upload([*read, *teacher, *further], layout.root))


def _read_teacher(folder: Path, model: str, config: ModelConfig, train: PreparedSplit) -> ModelCard:
    """The card of a student's teacher.

    Raises:
        DataError: it is missing or damaged.
        ModelError: it is another model than the params name, or was trained on other images.
    """
    card, wanted = ModelCard.read(folder / MODEL_CARD), config.distil and config.distil.teacher
    if card.model != wanted:
        raise ModelError(f"{folder} holds {card.model}, but distil.{model}.teacher is {wanted}: run `dvc repro`")
    if card.data_digests["train"] != train.digest or card.classes != list(train.classes):
        raise ModelError(f"{folder} was trained on other images than {model} is to learn from: run `dvc repro`")
    return card


def apply_values(config: ModelConfig, values: Mapping[str, Value]) -> ModelConfig:
    """The model's section, checked anew, with values replaced by dotted key; whole numbers are rounded.

    Raises:
        ParamsError: a key is unknown or a value is out of its range.
    """
    try:
        return config.with_values(values)
    except ValidationError as error:
        raise ParamsError(f"{first_problem(error, ModelConfig, 'tune.search')}: narrow what is searched") from error


def rescale_schedule(recipe: Train, epochs: int) -> Train:
    """The same course of the learning rate over another number of epochs: warm-up, cycle and steps keep their share."""
    share = epochs / recipe.epochs
    return recipe.model_copy(
        update={
            "epochs": epochs,
            "warmup_epochs": recipe.warmup_epochs * share,
            "cycle_epochs": recipe.cycle_epochs and recipe.cycle_epochs * share,
            "step_epochs": max(1, round(recipe.step_epochs * share)),
            # at least one more stage joins in, or all trials would try the head alone
            "unfreeze_every": recipe.unfreeze_every and max(1, min(round(recipe.unfreeze_every * share), epochs - 1)),
        }
    )
