"""Values of a params file changed in its text, so that comments, order and columns stay as people wrote them."""

import re
from collections.abc import Mapping


def with_runtime(text: str, values: Mapping[str, str]) -> str | None:
    """A params file with other values in its section `runtime`; all else, comments too, stays as it is.

    Args:
        text: of the file.
        values: YAML scalars by key.

    Returns:
        The new text; None where there is no section with one key a line.
    """
    section = re.search(r"^runtime:[ \t]*(#.*)?\r?\n((?:[ \t]+.*\r?\n|[ \t]*(#.*)?\r?\n)*)", text, re.MULTILINE)
    if section is None:
        return None
    body = section[2]
    indent = re.match(r"(?:[ \t]*(?:#.*)?\r?\n)*([ \t]+)[a-z]", body)
    if indent is None:
        return None
    for key, value in values.items():
        line = re.compile(rf"^({indent[1]}{key}:[ \t]*)([^\s#]+)([ \t]*)", re.MULTILINE)
        found = line.search(body)
        if found is None:
            body = f"{indent[1]}{key}: {value}\n{body}"
        else:
            room = len(found[2]) + len(found[3]) - len(value)  # a comment stays in its column where it can
            space = " " * max(room, 1) if found[3] else ""
            body = f"{body[: found.start()]}{found[1]}{value}{space}{body[found.end() :]}"
    return text[: section.start(2)] + body + text[section.end(2) :]
