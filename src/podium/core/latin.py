"""Names in any script, readable also where no font has the script."""

import unicodedata


def latin(text: str) -> str:
    """A transliteration in printable ASCII.

    Args:
        text: in any script.

    Returns:
        `sagwa` for `사과`, `:melon:` for `🍈`. Scripts without upper and lower case are written in lower case.
    """
    from anyascii import anyascii

    written = "".join(c for c in anyascii(text) if c.isprintable())
    return written if text.lower() != text.upper() else written.lower()


def with_latin(name: str) -> str:
    """A name with its transliteration behind it, where it is not in Latin script.

    Args:
        name: a class name, in any script.

    Returns:
        `lemon`, `citrón` as they are; `사과 (sagwa)`, `🍈 (:melon:)`.
    """
    if all(c.isascii() or unicodedata.combining(c) or unicodedata.name(c, "").startswith("LATIN") for c in name):
        return name
    return f"{name} ({latin(name).strip()})"
