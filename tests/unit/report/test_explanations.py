"""The section of the report on explanations: pictures, checks in words, shortcuts with the border probe."""

import re

import pytest

from podium.records.evaluation import Interval
from podium.records.explanation import BoxCheck, Explanation, OrderCheck
from podium.records.validate import ExpectationResult, ValidationReport
from podium.report import html as report
from podium.report.explanations import gather_explanations
from podium.report.results import read_results

MODELS = ("tiny_resnet", "tiny_convnext")


@pytest.fixture
def results(experiment):
    return read_results(experiment.layout, experiment.params)


def gathered(results, room=10**6):
    folders = [results.layout.explanation(model.name) for model in results.models]
    return gather_explanations(results.models, folders, results.validation.results, room)


def test_two_models_stand_side_by_side_for_each_class_and_what_the_checks_say_below(results):
    page = report.render_report(results)
    section = page[page.index('<h2 id="explanations">') :]
    section = section[: section.index("<h2", 10)]
    wanted = sum(len(model.explanation.pictures) for model in results.models)
    assert len(re.findall(r"<img src=\"data:image/webp;base64,", section)) == wanted >= 6
    assert all(f'<li data-model="{model}"' in section for model in MODELS)
    assert "rightly and most surely" in section and "wrongly and most surely" in section
    assert section.count("<b>tiny_resnet</b>: hiding first what it calls important") == 1
    assert "with random weights (rank correlation" in section
    assert "no boxes known" in section


def test_changed_pictures_are_told_of_every_model_and_left_out_where_there_are_none(experiment, results):
    page = report.render_report(results)
    section = page[page.index('<h2 id="matters">') :]
    section = section[: section.index("<h2", 10)]
    assert section.count("data:image/png;base64,") == section.count("<table>") == len(MODELS)
    for model in results.models:
        changed = model.explanation.interventions
        first = changed.results[0]
        assert f"<h3>{model.name}, right in {changed.clean.value:.1%} of 6 pictures as they are" in section
        told = f"{model.name} is right in {first.accuracy.value:.1%} of 6 pictures; covering as much elsewhere: "
        assert f"{told}{first.control.value:.1%}" in section
    rows = sum(len(model.explanation.interventions.results) for model in results.models)
    assert section.count('<tr><th scope="row">') == rows
    assert "No object&#39;s place is known" in section
    for name in MODELS:
        path = experiment.layout.explanation(name) / "explanation.json"
        Explanation.read(path).model_copy(update={"interventions": None}).write(path)
    assert "matters" not in report.render_report(read_results(experiment.layout, experiment.params))


def test_classes_known_worst_come_first_and_the_rest_is_counted_where_there_is_no_room(results):
    every = gathered(results)
    assert every.left_out == 0
    recall = results.winner.metrics.per_class
    order = list(dict.fromkeys(one.label for one in every.shown))
    assert order == sorted(recall, key=lambda name: (recall[name].recall, name))
    first = sum(len(uri) for one in every.shown if one.label == order[0] for uri, _ in one.pictures.values())
    few = gathered(results, first)
    assert {one.label for one in few.shown} == {order[0]}
    assert few.left_out == len(order) - 1


def test_where_no_method_is_named_there_is_no_section(experiment):
    for model in MODELS:
        path = experiment.layout.explanation(model) / "explanation.json"
        Explanation.read(path).model_copy(update={"methods": {}, "pictures": []}).write(path)
    assert "explanations" not in report.render_report(read_results(experiment.layout, experiment.params))


@pytest.mark.parametrize(("low", "gain", "warned"), [(0.5, 0.1, True), (0.2, 0.1, False), (0.5, -0.1, False)])
def test_looking_beside_the_object_is_a_warning_told_with_the_border_probe_s(experiment, low, gain, warned):
    path = experiment.layout.explanation("tiny_resnet") / "explanation.json"
    found = Explanation.read(path)
    boxes = BoxCheck(
        images=40,
        pointing=Interval(value=0.6, low=low, high=0.7),
        energy=0.5,
        chance=0.3,
        centre=1.0,
        outside={"apple": 0.9},
    )
    order = OrderCheck(area=0.3, random=0.5, gain=Interval(value=0.2, low=gain, high=0.3))
    checks = {"gradcam": found.methods["gradcam"].model_copy(update={"boxes": boxes, "deletion": order})}
    found.model_copy(update={"methods": checks}).write(path)
    probe = ExpectationResult(
        id="border_shortcut",
        suite="pixels",
        severity="warning",
        sentence="The border does not tell the label.",
        success=False,
        expected="at most 0.5",
        observed="0.8",
        offending=[],
        offending_count=0,
    )
    validation = ValidationReport.read(experiment.layout.validation_report)
    validation.model_copy(update={"results": [*validation.results, probe]}).write(experiment.layout.validation_report)
    page = report.render_report(read_results(experiment.layout, experiment.params))
    before = page[page.index('<h2 id="before">') : page.index('<h2 id="use">')]
    told = "tiny_resnet looks beside the object in 90.0% of the images of apple (gradcam)"
    assert (told in before) == warned
    assert (
        "The probe of the images' borders warns, too: 0.8, expected at most 0.5." in before.replace("&#39;", "'")
    ) == warned
