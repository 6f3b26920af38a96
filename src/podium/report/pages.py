"""Pages of HTML that need no other file, and of Markdown: every text escaped. Imports Jinja where a page is made."""

import base64
import io
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal


def rendered(
    package: str, folder: str, template: str, filters: Mapping[str, Callable[..., Any]], context: Mapping[str, Any]
) -> str:
    """Renders a template.

    Args:
        package: that holds it.
        folder: inside the package.
        template: its file name; texts are escaped for Markdown where it ends in `.md.j2`, for HTML otherwise.
        filters: functions the template may call on a value, by name.
        context: what the template names; a name it lacks is an error.

    Returns:
        The page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    markdown = template.endswith(".md.j2")
    environment = Environment(
        loader=PackageLoader(package, folder),
        autoescape=select_autoescape((), disabled_extensions=("md.j2",), default=True),
        finalize=_in_markdown if markdown else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(context)


def _in_markdown(value: object) -> object:
    """A text so that Markdown shows it as it is, in one line; HTML in it is text too."""
    if not isinstance(value, str):
        return value
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(value.split())).replace("&", "&amp;")


def inlined(data: bytes, kind: Literal["png", "jpeg", "webp"]) -> str:
    """A picture as the address of an `<img>`."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def thumbnail(picture: Path | bytes, height: int) -> str:
    """A picture as the address of an `<img>`, no higher than so many pixels."""
    from PIL import Image

    with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as stored:
        times = min(1.0, height / stored.height)
        small = stored.convert("RGB").resize((round(stored.width * times), round(stored.height * times)))
    out = io.BytesIO()
    small.save(out, format="WEBP", quality=82, method=4)
    return inlined(out.getvalue(), "webp")


def curve(shares: Sequence[float], times: float = 4.0) -> str:
    """A histogram as the points of a line in a drawing of 256 x 100.

    Its top is `times` times an even spread; what is more ends there.
    """
    width, top = 256 / len(shares), times / len(shares)
    return " ".join(f"{(at + 0.5) * width:g},{100 - 100 * min(s / top, 1):.1f}" for at, s in enumerate(shares))


def latin(text: str) -> str:
    """A transliteration in printable ASCII.

    Returns:
        `sagwa` for `사과`, `:melon:` for `🍈`. Scripts without upper and lower case are written in lower case.
    """
    from anyascii import anyascii

    written = "".join(c for c in anyascii(text) if c.isprintable())
    return written if text.lower() != text.upper() else written.lower()


def with_latin(name: str) -> str:
    """A name with its transliteration behind it, where it is not in Latin script.

    Returns:
        `lemon`, `citrón` as they are; `사과 (sagwa)`, `🍈 (:melon:)`.
    """
    if all(c.isascii() or unicodedata.combining(c) or unicodedata.name(c, "").startswith("LATIN") for c in name):
        return name
    return f"{name} ({latin(name).strip()})"
