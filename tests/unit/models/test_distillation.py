"""A student learns from its teacher's answers, by the formula of the paper, to the pixels the student is given."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from podium.config.train import Distil, Loss, Train
from podium.core.errors import ModelError
from podium.core.layout import Layout
from podium.models.checkpoint import Checkpoint
from podium.models.distillation import Teacher
from podium.models.engine import fit
from podium.models.inference import load_classifier
from podium.models.job import Job, open_job
from podium.pipeline import train
from podium.records.training import ModelCard
from tests.cards import no_weights
from tests.small_jobs import STILL, Interrupting
from tests.small_splits import RECIPE, RESOURCES, RUNTIME, a_config, write_project

WISH = Distil(teacher="small", temperature=2.0, weight=0.3)
QUICK = RECIPE.model_copy(update={"epochs": 2, "augment": STILL})


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A project with a trained teacher, copied to where `teach` leaves it for `student`."""
    layout = write_project(tmp_path_factory.mktemp("distillation"))
    config = a_config(recipe=QUICK)
    train.train_model(layout, "small", config=config, runtime=RUNTIME, resources=RESOURCES, seed=0)
    layout.teacher("student").parent.mkdir(parents=True)
    layout.model("small").rename(layout.teacher("student"))
    no_weights(config.architecture).write(layout.weights / "student" / "weights.json")
    layout.tuning("small").rename(layout.tuning("student"))
    return layout


def opened(layout: Layout, wish: Distil | None = WISH, recipe: Train = QUICK, seed: int = 1) -> Job:
    config = a_config(recipe=recipe).model_copy(update={"distil": wish})
    return open_job(layout, "train student", "student", config, runtime=RUNTIME, resources=RESOURCES, seed=seed)


@pytest.mark.parametrize("mean", [(0.5, 0.5, 0.5), (0.1, 0.2, 0.3)])
def test_what_the_teacher_adds_is_the_formula_of_the_paper_whatever_the_normalisation(layout: Layout, mean) -> None:
    job = opened(layout)
    job = Job(**{**vars(job), "mean": mean})
    pixels = job.train.images(np.arange(5))
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(
        job.std
    ).view(3, 1, 1)
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    own = torch.arange(5.0)

    found = Teacher(job, WISH).losses(logits, x, own)

    answers = torch.from_numpy(load_classifier(layout.teacher("student"), RUNTIME).logits(pixels, 5))
    wanted, given = torch.softmax(answers / 2.0, 1), torch.softmax(logits / 2.0, 1)
    apart = (wanted * (wanted.log() - given.log())).sum(1)
    torch.testing.assert_close(found, 0.7 * own + 0.3 * 4.0 * apart, atol=1e-4, rtol=1e-4)


def test_a_student_that_follows_its_teacher_alone_comes_to_give_its_answers(layout: Layout) -> None:
    recipe = QUICK.model_copy(update={"epochs": 12, "learning_rate": 0.01, "loss": Loss(label_smoothing=0.0)})
    wish = WISH.model_copy(update={"weight": 1.0})
    teacher = load_classifier(layout.teacher("student"), RUNTIME)

    def distance(job: Job) -> float:
        module = job.build()
        module.load_state_dict(fit(job, module).best)
        images = job.train.images(np.arange(30))
        x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - torch.tensor(job.mean).view(3, 1, 1)) / torch.tensor(
            job.std
        ).view(3, 1, 1)
        with torch.no_grad():
            given = F.log_softmax(module.eval()(x), 1)
        wanted = torch.from_numpy(teacher.probabilities(images, 30))
        return float(F.kl_div(given, wanted, reduction="batchmean"))

    assert distance(opened(layout, wish, recipe)) < 0.5 * distance(opened(layout, None, recipe))


def test_a_student_that_is_killed_and_goes_on_ends_with_the_same_bytes(layout: Layout, tmp_path: Path) -> None:
    job = opened(layout)
    whole = fit(job, job.build())
    with pytest.raises(InterruptedError):
        fit(job, job.build(), [Interrupting()], Checkpoint(tmp_path))
    resumed = fit(job, job.build(), checkpoint=Checkpoint(tmp_path))
    assert all(torch.equal(resumed.best[name], whole.best[name]) for name in whole.best)
    alone = opened(layout, None)
    assert fit(alone, alone.build()).progress.history != whole.progress.history


def test_the_card_names_the_teacher_and_its_fingerprint_is_part_of_the_student_s(layout: Layout) -> None:
    def trained(wish: Distil | None) -> ModelCard:
        config = a_config(recipe=QUICK).model_copy(update={"distil": wish})
        train.train_model(layout, "student", config=config, runtime=RUNTIME, resources=RESOURCES, seed=1)
        return ModelCard.read(layout.model("student") / "model.json")

    student, alone = trained(WISH), trained(None)
    teacher = ModelCard.read(layout.teacher("student") / "model.json")
    assert (student.distil, student.teacher_fingerprint) == (WISH, teacher.fingerprint)
    assert (alone.distil, alone.teacher_fingerprint) == (None, None)
    assert opened(layout).identity(layout, "train")["teacher"] == teacher.fingerprint
    assert student.fingerprint != alone.fingerprint


def test_another_teacher_than_the_params_name_is_refused(layout: Layout) -> None:
    with pytest.raises(ModelError, match=r"holds small, but distil\.student\.teacher is large: run `dvc repro`"):
        opened(layout, WISH.model_copy(update={"teacher": "large"}))


def test_views_are_refused_since_a_teacher_has_to_see_the_images() -> None:
    config = a_config(recipe=QUICK.model_copy(update={"views": 2}))
    with pytest.raises(ValueError, match="a teacher has to see the images"):
        type(config).model_validate({**config.model_dump(), "distil": WISH})
