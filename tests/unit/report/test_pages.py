"""Pages: what people wrote is text, pictures are inside, a slip in a template is an error."""

import base64
import sys
from pathlib import Path

import pytest
import yaml
from jinja2 import UndefinedError

from podium.report.pages import inlined, rendered, with_latin


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package with one template."""
    folder = tmp_path / "some_pages" / "templates"
    folder.mkdir(parents=True)
    (tmp_path / "some_pages" / "__init__.py").write_text("")
    (folder / "page.html.j2").write_text("{% for n in names %}\n<p>{{ n | loud }}</p>\n{% endfor %}\n")
    (folder / "page.md.j2").write_text("| {{ name }} | {{ 3 }} |\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "some_pages", raising=False)
    return "some_pages"


def test_names_are_escaped_after_every_filter(package):
    page = rendered(package, "templates", "page.html.j2", {"loud": str.upper}, {"names": ["a<b>", "사과 & 🍐"]})
    assert page == "<p>A&lt;B&gt;</p>\n<p>사과 &amp; 🍐</p>\n"


def test_a_name_that_the_template_wants_and_nobody_gives_is_an_error(package):
    with pytest.raises(UndefinedError):
        rendered(package, "templates", "page.html.j2", {"loud": str.upper}, {})


def test_a_picture_is_its_own_address():
    assert inlined(b"\x89PNG", "png") == f"data:image/png;base64,{base64.b64encode(bytes([137]) + b'PNG').decode()}"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("bell_pepper", "bell_pepper"),
        ("citrón", "citrón"),
        ("citro\u0301n", "citro\u0301n"),  # the accent as a character of its own
        ("사과", "사과 (sagwa)"),
        ("🍈", "🍈 (:melon:)"),
        ("", ""),
    ],
)
def test_other_scripts_are_transliterated_behind_the_name(name, shown):
    assert with_latin(name) == shown


def test_in_markdown_names_are_text_in_one_line(package):
    page = rendered(package, "templates", "page.md.j2", {}, {"name": "a|b_c <b>\n&lt; 감"})
    assert page == "| a\\|b\\_c \\<b\\> &amp;lt; 감 | 3 |"


def test_the_workflow_that_posts_the_report_gives_the_right_to_write_to_no_job_that_runs_code_of_others():
    root = Path(__file__).parents[3]
    flow = yaml.safe_load((root / ".github" / "workflows" / "podium.yml").read_text(encoding="utf-8"))
    assert flow[True] == {"pull_request": {"paths": flow[True]["pull_request"]["paths"]}}  # YAML reads `on` as true
    assert all((root / path.removesuffix("/**")).exists() for path in flow[True]["pull_request"]["paths"])
    assert flow["permissions"] == {"contents": "read"}
    run = [step.get("run", "") for step in flow["jobs"]["experiment"]["steps"]]
    assert any(step.startswith("make repro") for step in run)
    assert "repro:" in (root / "Makefile").read_text(encoding="utf-8")
    comment = flow["jobs"]["comment"]
    assert comment["permissions"] == {"pull-requests": "write"}
    assert [step.get("uses", "").partition("@")[0] for step in comment["steps"]] == ["actions/download-artifact", ""]
    assert "permissions" not in flow["jobs"]["experiment"]
    (upload,) = [s for s in flow["jobs"]["experiment"]["steps"] if "upload-artifact" in s.get("uses", "")]
    assert "reports/report.md" in upload["with"]["path"].split()
