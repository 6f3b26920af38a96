"""Pages: what people wrote is text, pictures are inside, a slip in a template is an error."""

import base64

import pytest
from jinja2 import UndefinedError

from podium.report.pages import inlined, rendered, with_latin


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package with one template."""
    folder = tmp_path / "some_pages" / "templates"
    folder.mkdir(parents=True)
    (tmp_path / "some_pages" / "__init__.py").write_text("")
    (folder / "page.html.j2").write_text("{% for n in names %}\n<p>{{ n | loud }}</p>\n{% endfor %}\n")
    monkeypatch.syspath_prepend(tmp_path)
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
