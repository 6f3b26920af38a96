"""`podium mistakes`: which images are on the page, where it is, and what is refused."""

import re
import webbrowser

import pytest

from podium.analysis.mistakes import read_mistakes
from tests.unit.cli.calls import one_line, podium


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    """The addresses that a browser was asked for; there is a display."""
    asked = []
    monkeypatch.setattr(webbrowser, "open", asked.append)
    monkeypatch.setenv("DISPLAY", ":0")
    return asked


def images_of(page):
    return re.findall(r'<img src="data:image/webp;base64,[^"]+" alt="([^"]+)"', page.read_text(encoding="utf-8"))


def kept(project, model):
    return read_mistakes(project.evaluation(model) / "mistakes.parquet")


def test_a_page_of_all_models_is_written_and_opened(project, opened):
    result = podium("mistakes")
    page = project.work / "mistakes" / "mistakes.html"
    assert result.exit_code == 0, result.stderr
    assert str(page) in result.stdout
    assert opened == [page.as_uri()]
    made = [one for model in ("tiny_resnet", "tiny_convnext") for one in kept(project, model)]
    assert sorted(images_of(page)) == sorted({one.path for one in made if one.picture})


def test_model_slice_and_classes_choose_and_the_limit_keeps_the_surest(project, opened, tmp_path):
    made = kept(project, "tiny_resnet")
    one = made[0]
    asked = ("--model", "tiny_resnet", "--class", one.label, "--predicted", one.predicted, "--slice", one.slices[0])
    fitting = [
        m.path for m in made if (m.label, m.predicted) == (one.label, one.predicted) and one.slices[0] in m.slices
    ]
    result = podium("mistakes", *asked, "--out", str(tmp_path / "a" / "b"), "--no-open", "--limit", "1")
    assert result.exit_code == 0, result.stderr
    assert images_of(tmp_path / "a" / "b" / "mistakes.html") == fitting[:1]
    assert f"Mistakes of tiny_resnet on {one.label} taken for {one.predicted}, slice {one.slices[0]}" in result.stdout
    assert opened == []


def test_without_a_display_or_a_fitting_mistake_nothing_is_opened(project, opened, monkeypatch):
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert podium("mistakes").exit_code == 0
    (project.work / "mistakes" / "mistakes.html").unlink()
    result = podium("mistakes", "--class", "apple", "--predicted", "apple")
    assert (result.exit_code, opened) == (0, [])
    assert "none, so no page is written" in result.stdout
    assert not (project.work / "mistakes" / "mistakes.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--model", "tiny_resnt"), 2, "'tiny_resnt' is no model of the experiment; did you mean 'tiny_resnet'?"),
        (("--slice", "ocluded"), 2, "is no slice of the test images; did you mean 'occluded'? (known: brightness"),
        (("--class", "aple"), 2, "--class 'aple' is no class; did you mean 'apple'?"),
        (("--predicted", "leek"), 2, "--predicted 'leek' is no class (known: <b>pear</b>, apple, 감)"),
        (("--limit", "0"), 2, "'--limit': Input should be greater than or equal to 1"),
    ],
)
def test_what_is_not_known_is_refused_in_one_line_with_what_is(project, arguments, code, message):
    result = podium("mistakes", *arguments)
    assert result.exit_code == code
    assert one_line(result.stderr)
    assert message in result.stderr


def test_a_model_that_was_not_evaluated_is_named(project):
    (project.evaluation("tiny_resnet") / "mistakes.parquet").unlink()
    result = podium("mistakes", "--model", "tiny_resnet")
    assert result.exit_code == 1
    assert one_line(result.stderr)
    assert "mistakes.parquet does not exist: run `dvc repro`" in result.stderr
