import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from podium.analysis.decision import round_up
from podium.analysis.leaderboard import rank
from podium.analysis.learning_curve import SHARES, fit_curve
from podium.analysis.mistakes import read_mistakes, write_mistakes
from podium.core.layout import CONFUSION_MATRIX
from podium.pipeline import compare
from podium.records.evaluation import Metrics, SliceSearch
from podium.records.fetch import Correction, Corrections, Sources
from podium.records.training import LearningPoint, add_times
from podium.report import html as report
from podium.report import pages, sentences
from podium.report.results import read_results
from tests.measurements import some_metrics
from tests.unit.analysis.boards import metrics

ADDRESS = r"data:image/(png|webp);base64,"
VOID = {"meta", "img", "br", "line", "link", "hr", "input"}


class Page(HTMLParser):
    """Text and attributes of a page, and whether every element is closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.text, self.resources, self.tags = [], [], [], set()
        self.elements = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.elements.append((tag, dict(attrs)))
        self.resources += [value for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["style"], ["script"]):
            self.text.append(data)

    def said(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def html(experiment):
    return report.render_report(read_results(experiment.layout, experiment.params))


def test_the_page_is_one_file_without_addresses(html):
    page = Page(html)
    assert page.open == []
    assert all(re.match(f"{ADDRESS}|#", value) for value in page.resources)
    assert "link" not in page.tags
    assert [attrs for tag, attrs in page.elements if tag == "script"] == [{}]
    without_pictures = re.sub(f"{ADDRESS}[A-Za-z0-9+/=]+", "", html)
    addresses = re.sub(r"http://127\.0\.0\.1:5001/predict|sqlite:///mlflow\.db", "", without_pictures)
    assert not re.search(r"(https?:)?//[\w.]+\.\w|url\(|@import", addresses)


def test_the_contents_lead_to_every_section(html):
    page = Page(html)
    ids = [attrs["id"] for tag, attrs in page.elements if tag == "h2" and "id" in attrs]
    assert [f"#{id}" for id in ids] == [attrs["href"] for tag, attrs in page.elements if attrs.keys() == {"href"}]
    assert ids == [name for name in report.SECTIONS if name != "more"]  # nobody asked for a learning curve here


def test_tables_can_be_read_aloud_and_on_a_telephone(html):
    """Every heading says what it heads, and every cell which heading it has, since rows become lists there."""
    elements = Page(html).elements
    assert {attrs.get("scope") for tag, attrs in elements if tag == "th"} == {"col", "row"}
    assert all(attrs["data-label"] for tag, attrs in elements if tag == "td" and attrs and "style" not in attrs)
    tags = [tag for tag, _ in elements]
    assert tags.count("caption") == tags.count("table") > 8


def test_class_names_are_shown_as_they_are_and_never_as_markup(html):
    page = Page(html)
    assert "<b>pear</b>" not in html
    assert "&lt;b&gt;pear&lt;/b&gt;" in html
    assert "<b>pear</b>" in page.said()
    assert "감" in page.said()


def test_precision_recall_and_f1_of_a_class_stand_under_their_own_headings(experiment):
    outcome = read_results(experiment.layout, experiment.params)
    path = experiment.layout.evaluation(outcome.winner.name) / "metrics.json"
    metrics = Metrics.read(path)
    apple = metrics.per_class["apple"].model_copy(
        update={"precision": 0.111, "recall": 0.222, "recall_low": 0.2, "recall_high": 0.333, "f1": 0.444}
    )
    metrics.model_copy(update={"per_class": {**metrics.per_class, "apple": apple}}).write(path)
    page = Page(report.render_report(read_results(experiment.layout, experiment.params)))
    said = page.said()
    row = said[said.index("apple", said.index("Precision F1")) :]
    (other,) = (model.metrics.per_class["apple"] for model in outcome.models[1:])
    bounds = f"{100 * other.recall_low:.1f} to {sentences.share(other.recall_high)}"
    assert row.startswith(f"apple fruit 8 22.2% 20.0 to 33.3% {sentences.share(other.recall)} {bounds} 11.1% 44.4%"), (
        row[:90]
    )


def test_changed_photographs_are_in_a_table_and_a_sentence_unless_none_were(experiment, html):
    outcome = read_results(experiment.layout, experiment.params)
    said = Page(html).said()
    assert re.search(r"On 24 of the test images tiny_resnet names \d+\.\d% rightly as they are and", said)
    table = said[said.index("as they are 0 ") :]
    fog = outcome.winner.robustness.perturbations[5].at[0]
    assert f"fog an uneven veil of light that hides 50% on average 3 {sentences.share(fog.accuracy.value)}" in table
    for model in outcome.models:
        (experiment.layout.evaluation(model.name) / "robustness.json").unlink()
    assert "uneven veil" not in report.render_report(read_results(experiment.layout, experiment.params))


def unfair(experiment, accept=None):
    """The report after one model was found to start from other weights than the other."""
    layout = experiment.layout
    path = layout.evaluation("tiny_resnet") / "metrics.json"
    metrics = Metrics.read(path)
    conditions = metrics.conditions.model_copy(update={"pretraining": "in1k"})
    metrics.model_copy(update={"conditions": conditions}).write(path)
    params = experiment.params
    compare.compare_models(layout, list(params.models), params.compare.model_copy(update={"accept": accept or {}}))
    return Page(report.render_report(read_results(layout, params))).said()


def test_a_fair_comparison_says_what_was_equal_and_has_no_box(html):
    said = Page(html).said()
    assert "Equal for all models: image size 32, pretraining none, planned training images" in said
    assert "They differ in" not in said


def test_an_unfair_comparison_is_told_before_anything_else_and_nobody_wins(experiment):
    said = unfair(experiment)
    box = said[: said.index("Accuracy")]
    assert "Not comparable" in box
    assert "pretraining in1k: tiny_resnet none: tiny_convnext no" in box or (
        "pretraining none: tiny_convnext in1k: tiny_resnet no" in box
    )
    assert "compare.accept: {pretraining: <why>}" in box
    assert " wins: " not in said
    assert "pretraining" not in said[said.index("Equal for all models") :][:160]


def test_an_accepted_difference_is_printed_and_says_yes(experiment):
    said = unfair(experiment, {"pretraining": "it is the question"})
    assert "did not meet on equal conditions, and that is accepted" in said
    assert "Not comparable" not in said
    assert "yes because it is the question" in said
    assert "compare.accept: {pretraining" not in said


def test_coarse_classes_have_a_table_of_their_own(experiment, html):
    groups = read_results(experiment.layout, experiment.params).winner.metrics.groups
    said = Page(html).said()
    table = said[said.rindex("Coarse classes") : said.rindex("Where it is hard")]
    assert all(f"{name} " in table for name in ("fruit", "감나무"))
    assert sentences.share(groups.accuracy.value) in table
    told = f"It names the coarse class (fruit, 감나무) rightly in {sentences.share(groups.accuracy.value)} of cases."
    assert told in said[: said.rindex("Leaderboard")], said[:4000]


def test_the_worst_slices_are_in_a_table_or_said_to_be_none(experiment, html):
    heading, after = (
        "The worst parts: found on validation, confirmed on test",
        "When something happens to the photograph",
    )
    said = Page(html).said()
    assert "No part of the validation images is large enough" in said[said.rindex(heading) : said.rindex(after)]
    path = experiment.layout.evaluation("tiny_resnet") / "metrics.json"
    rate = {"value": 0.584, "low": 0.3, "high": 0.8}
    known = {"slices": ["dark", "busy_background"], "sentence": "at night and busy", "images": 12, "adjusted_p": 0.004}
    one = known | {"accuracy": rate, "rest": rate | {"value": 0.9}, "validation_accuracy": rate | {"value": 0.5}}
    search = SliceSearch.model_validate({"looked_at": 101, "found": 5, "confirmed": [one]})
    Metrics.read(path).model_copy(update={"worst_slices": search}).write(path)
    said = Page(report.render_report(read_results(experiment.layout, experiment.params))).said()
    shown = said[said.rindex(heading) : said.rindex(after)]
    assert "Of 101 parts of the validation images, alone and where two meet, tiny_resnet is worse on 5" in shown
    assert "dark and busy background at night and busy tiny_resnet 12 58.4% 30.0 to 80.0% 90.0%" in shown


def test_classes_that_are_taken_for_each_other_are_listed_with_direction(experiment, html):
    metrics = read_results(experiment.layout, experiment.params).winner.metrics
    said = Page(html).said()
    table = said[said.rindex("takes for each other") :]
    for pair in metrics.confused:
        assert f"{pair.mistakes} of {pair.images} {pair.back} of {pair.back_images}" in table
    first = metrics.confused[0]
    assert f"It most often takes {first.actual} for {first.predicted} ({first.mistakes} of {first.images})" in said


def test_confused_classes_say_how_near_they_lie_and_are_shown_side_by_side(experiment, html):
    metrics = read_results(experiment.layout, experiment.params).winner.metrics
    said = Page(html).said()
    for pair in metrics.confused:
        assert f"{sentences.number(pair.distance)} rank {pair.nearness}" in said
    (first, *_) = metrics.confused
    assert f"taken for {pages.with_latin(first.predicted)}: {first.mistakes} of {first.images}" in said


@pytest.mark.parametrize(
    ("rho", "p", "told"),
    [
        (-0.61, 0.002, "The nearer two classes lie in the features of m, the more often it mixes them up: rank"),
        (-0.2, 0.3, "How near two classes lie in the features of m does not tell whether it mixes them up: rank"),
        (None, None, ""),
    ],
)
def test_whether_distance_tells_confusion_is_said_with_its_numbers(rho, p, told):
    found = None if rho is None else {"pairs": 66, "rho": rho, "p_value": p}
    said = sentences.describe_distance(some_metrics(distance_correlation=found))
    assert said.startswith(told)
    assert not found or said.endswith(f" {rho:.2f} over 66 pairs of classes, p = {p}.")


def test_verdict_leaderboard_data_tuning_and_origin_are_there(experiment, html):
    outcome = read_results(experiment.layout, experiment.params)
    said = Page(html).said()
    best = outcome.winner
    for text in (
        f"{best.name} leads provisionally: it is right about",
        sentences.share(best.metrics.accuracy.value),
        outcome.decision.reason,
        "CC0-1.0",
        "broken.jpg",
        "unreadable: truncated",
        outcome.validation.results[0].sentence,
        "18 of 24 images (75.0%), in 2 trials of at most 2 epochs",
        best.card.fingerprint[:12],
        outcome.state,
        "occluded",
    ):
        assert text in said, text
    drawn = [name for name in report.PLOTS if name != CONFUSION_MATRIX]  # that is a table
    plots = sum((experiment.layout.evaluation(c.name) / name).is_file() for c in outcome.models for name in drawn)
    assert html.count('<img class="plot"') == plots + 3 * len(outcome.models)  # three of each study
    tables = [read_mistakes(experiment.layout.evaluation(c.name) / "mistakes.parquet") for c in outcome.models]
    mistaken = {mistake.image_id for table in tables for mistake in table if mistake.picture}
    assert html.count("data-slices=") == len(mistaken)


def test_an_undecided_comparison_says_what_it_lacks_and_why_it_is_accepted(experiment, html):
    decision = read_results(experiment.layout, experiment.params).decision
    (comparison,) = decision.comparisons
    assert comparison.outcome == decision.outcome == "undecided"
    said = Page(html).said()
    assert f"because {experiment.params.compare.accept['undecided']}" in said[: said.index("Accuracy")]
    against = said[said.index("against the others, on the same images") : said.index("The rule, fixed beforehand")]
    assert f"{comparison.second} undecided" in against
    assert f"about {sentences.count(round_up(comparison.images_needed))}".replace("\u202f", " ") in against


def test_measured_times_are_shown_and_make_the_page_new(experiment):
    outcome = read_results(experiment.layout, experiment.params)
    report.write_report(outcome)
    assert report.is_current(outcome)
    assert not report.is_current(outcome, report.Registered(against="it is worse than version 1"))
    times = {"latency_p50_seconds": 0.00734, "latency_p95_seconds": 0.012}
    add_times(experiment.layout, outcome.winner.card.fingerprint, times)
    later = read_results(experiment.layout, experiment.params)
    assert not report.is_current(later)
    assert later.state == outcome.state
    assert "7.34 ms" in Page(report.render_report(later)).said()


def test_a_learning_curve_is_told_until_its_model_is_trained_anew(experiment):
    outcome = read_results(experiment.layout, experiment.params)
    report.write_report(outcome)
    points = [LearningPoint(share=s, draw=0, images=round(800 * s), accuracy=1 - 0.1 / s**0.5) for s in SHARES]
    fingerprint = outcome.winner.card.fingerprint
    curve = fit_curve(outcome.winner.name, fingerprint, points, images=800, val_images=90, seed=0)
    curve.write(experiment.layout.learning_curve)
    later = read_results(experiment.layout, experiment.params)
    assert not report.is_current(later)
    html = report.render_report(later)
    said = Page(html).said()
    assert said.count("Twice the 800 training images would bring about +2.9 points") == 2
    section = said[said.rindex("What would more images bring?") :]
    assert "100 images 71.7% 71.7% 95%: " in section
    assert "1 600 images not tried: where the curve leads 92.9%" in section
    assert "Error by number of training images" in html
    curve.model_copy(update={"fingerprint": "0" * 64}).write(experiment.layout.learning_curve)
    assert read_results(experiment.layout, experiment.params).learning_curve is None


def test_the_report_in_short_has_verdict_leaderboard_fairness_and_what_would_change_it(experiment):
    outcome = read_results(experiment.layout, experiment.params)
    report.write_report(outcome, report.Registered(against="it is <better> than version 1"))
    text = experiment.layout.report_in_short.read_text(encoding="utf-8")
    best, (comparison,) = outcome.winner, outcome.decision.comparisons
    name = best.name.replace("_", "\\_")
    assert text.startswith(
        f"### {name} leads provisionally: it is right about {sentences.share(best.metrics.accuracy.value)} of 24"
    )
    assert "**Against the model in use:** it is \\<better\\> than version 1" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(outcome.models)
    assert len({row.count(" | ") for row in rows[:1] + rows[2:]}) == 1
    assert f"| 1 | {name} ★ | {sentences.share(best.metrics.accuracy.value)} (" in rows[2]
    assert text.splitlines()[text.splitlines().index(rows[-1]) + 1] == ""  # what follows is no row of the table
    assert "**Was it fair?** Yes. Equal for all: image size 32" in text
    points = 100 * comparison.minimum_detectable_difference
    assert f"- With 24 test images a true difference of {points:.1f} points is found in 8 of 10 cases" in text
    assert "- Each network was trained once, with seed 0" in text
    for model in outcome.models:
        path = experiment.layout.evaluation(model.name) / "metrics.json"
        model.metrics.model_copy(update={"classifier": "nearest_neighbours"}).write(path)
    probes = sentences.describe_change(read_results(experiment.layout, experiment.params))
    assert probes[-1] == "Nothing in a probe is drawn by chance: another seed would give the same models."
    assert len(text) < 10_000  # a comment may have 65,536 characters
    experiment.layout.report_in_short.unlink()
    assert not report.is_current(outcome, report.Registered(against="it is <better> than version 1"))


def test_the_report_in_short_says_what_was_unfair(experiment):
    for accept, told in (
        ({}, "), not accepted"),
        ({"pretraining": "why | not"}, "), because why \\| not"),
    ):
        unfair(experiment, accept)
        report.write_report(read_results(experiment.layout, experiment.params))
        text = experiment.layout.report_in_short.read_text(encoding="utf-8")
        assert "in1k (tiny\\_resnet)" in text
        assert told in text


def test_when_and_on_what_it_was_made_is_told_where_this_machine_made_it(experiment, html):
    assert "Made on" not in html
    outcome = read_results(experiment.layout, experiment.params)
    for begun, model in zip((1_795_000_000.0, 1_795_000_300.0), outcome.models, strict=True):
        add_times(experiment.layout, model.card.fingerprint, {"started": begun, "ended": begun + 125})
    said = Page(report.render_report(read_results(experiment.layout, experiment.params))).said()
    assert "Made on 18 November 2026 at 11:13 UTC. Studies and training took 4 minutes on " in said


def test_the_page_says_how_the_model_is_used(experiment, html):
    name = experiment.params.publish.registered_model
    said = Page(html).said()
    for text in (f'load_model("models:/{name}@staging")', f"podium serve models:/{name}@staging", report.USE_CURL):
        assert text in said


def test_the_readme_shows_the_same_way_to_use_it():
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    for example in (report.USE_IN_PYTHON, report.USE_SERVER):
        assert example.format(model="models:/podium-sample@staging", uri=report.Registered.uri) in readme
    assert report.USE_CURL in readme


def some_decision(outcome, winner="b", because=None):
    """A decision over a (88 %) and b (84 %), where a is the best."""
    return SimpleNamespace(
        outcome=outcome,
        winner=winner,
        accepted_because=because,
        comparisons=[SimpleNamespace(first="a", second="b", outcome=outcome, images_needed=442, seeds_needed=None)],
    )


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        (some_decision("better", "a"), "It is better than every other model, by more than chance explains."),
        (
            some_decision("equivalent"),
            "It is as good as a (88.0%), within the margin fixed beforehand, and no dearer to run.",
        ),
        (
            some_decision("undecided", "a"),
            "a (88.0%) is ahead of b (84.0%), but on 264 test images that may be chance: about 450 test images would "
            "tell. a leads provisionally and is not to be used before that.",
        ),
        (
            some_decision("undecided", "a", "it is a demonstration"),
            "a (88.0%) is ahead of b (84.0%), but on 264 test images that may be chance: about 450 test images would "
            "tell. a leads provisionally and may be used until then, because it is a demonstration.",
        ),
        (some_decision("alone"), "There was no other model to compare it with."),
    ],
)
def test_the_verdict_is_told_to_those_who_know_no_statistics(decision, told):
    board = rank([metrics("a", 0.88, images=264), metrics("b", 0.84, images=264)], "accuracy")
    assert sentences.describe_verdict(SimpleNamespace(decision=decision, leaderboard=board)) == told


def test_a_number_in_the_confusion_matrix_leads_to_its_images(experiment, html):
    page = Page(html)
    links = [attrs for tag, attrs in page.elements if "data-predicted" in attrs and tag == "a"]
    shown = {(a["data-model"], a["data-predicted"]) for tag, a in page.elements if tag == "li" and a}
    assert links and all(link["href"] == "#mistakes" for link in links)
    assert {(link["data-model"], link["data-predicted"]) for link in links} <= shown
    for name in experiment.params.models:
        said = page.said()
        assert f"{name}: true classes in rows" in said


def test_the_openings_of_the_test_split_are_listed(experiment, html):
    said = Page(html).said()
    table = said[said.index("Openings of the test split") :]
    (first, second) = experiment.params.models
    assert table.index(f"evaluate {second}") < table.index(f"evaluate {first}")


def test_times_that_were_not_measured_on_this_machine_are_said_to_be_so(experiment, html):
    assert Page(html).said().count("not measured here") == 1 + 2  # at the top, and in the leaderboard of two models
    for model in read_results(experiment.layout, experiment.params).models:
        add_times(
            experiment.layout, model.card.fingerprint, {"latency_p50_seconds": 0.004, "latency_p95_seconds": 0.01}
        )
    said = Page(report.render_report(read_results(experiment.layout, experiment.params))).said()
    assert "not measured here" not in said
    assert "10 ms for the slowest 5%" in said


def test_the_same_files_give_the_same_page(experiment, html):
    assert report.render_report(read_results(experiment.layout, experiment.params)) == html


def test_a_class_called_na_is_a_name_like_any_other(experiment):
    path = experiment.layout.evaluation("tiny_resnet") / "mistakes.parquet"
    write_mistakes(path, [replace(read_mistakes(path)[0], predicted="NA")], 1, str.encode)
    page = Page(report.render_report(read_results(experiment.layout, experiment.params)))
    assert ("li", {"data-model": "tiny_resnet", "data-predicted": "NA"}) in page.elements


@pytest.mark.parametrize(("found", "told"), [(0, "on none by"), (2, "on 2 by"), (2, "the test images confirm none.")])
def test_a_search_that_confirms_nothing_says_so(found, told):
    search = {"looked_at": 9, "found": found, "confirmed": []}
    assert told in sentences.describe_search(some_metrics(worst_slices=search))


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (sentences.share(0.91249), "91.2%"),
        (sentences.count(1234567), "1\u202f234\u202f567"),
        (sentences.compact(11_181_642), "11.2 M"),
        (sentences.compact(610_000_000), "610 M"),
        (sentences.size(44_700_000), "44.7 MB"),
        (sentences.size(812), "812 B"),
        (sentences.milliseconds(0.00734), "7.34 ms"),
        (sentences.duration(45), "45 seconds"),
        (sentences.duration(430), "7 minutes"),
        (sentences.duration(7_500), "2 h 5 min"),
    ],
)
def test_numbers_are_written_for_people(shown, expected):
    assert shown == expected


def test_labels_corrected_by_hand_are_counted_by_split_and_those_of_test_are_warned_of(experiment, html):
    assert "corrected by hand" not in html
    layout = experiment.layout
    sources, images = Sources.read(layout.raw / "sources.json"), pd.read_parquet(layout.manifest)
    rows = [images[images["split"] == split].iloc[0] for split in ("train", "test")]
    made = [
        Correction(image_id=row["image_id"], path=row["path"], source="x", was="<i>", label=row["label"], why="seen")
        for row in rows
    ]
    found = Corrections(location="data/corrections.csv", images=made, unused=0)
    for told, warned in ((found, True), (found.model_copy(update={"images": made[:1]}), False)):
        sources.model_copy(update={"corrections": told}).write(layout.raw / "sources.json")
        said = Page(report.render_report(read_results(layout, experiment.params))).said()
        assert ("2 labels corrected, by data/corrections.csv: 1 in train, 1 in test." in said) is warned
        assert ("test accuracy is too high" in said) is warned
        assert f"{rows[0]['path']} train <i> {pages.with_latin(rows[0]['label'])} seen" in said
