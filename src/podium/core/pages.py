"""HTML pages that need no other file: every text escaped, pictures inside. Imports Jinja where a page is made."""

import base64
from collections.abc import Callable, Mapping
from typing import Any, Literal


def rendered(
    package: str, folder: str, template: str, filters: Mapping[str, Callable[..., Any]], context: Mapping[str, Any]
) -> str:
    """Renders a template.

    Args:
        package: that holds it.
        folder: inside the package.
        template: its file name.
        filters: functions the template may call on a value, by name.
        context: what the template names; a name it lacks is an error.

    Returns:
        The page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(context)


def inlined(data: bytes, kind: Literal["png", "jpeg"]) -> str:
    """A picture as the address of an `<img>`.

    Args:
        data: a whole image file.
        kind: its format.
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
