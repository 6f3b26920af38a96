"""Class names as labels of plots that fonts can draw.

DejaVu Sans, which comes with matplotlib, is the first font; for what it lacks, installed fonts stand behind it, and
what no font has is transliterated (`sagwa`, `:apple:`).
"""

import itertools
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib import font_manager, ft2font

from podium.report.pages import latin

BASE_FAMILY = "DejaVu Sans"
LONGEST = 28  # characters of a label; the middle of a longer one is left out


@dataclass(frozen=True)
class Labels:
    """How class names are written in plots.

    Attributes:
        names: class names, in order.
        shown: one label a class, all different, each of them covered by `families`.
        families: font families, the first one first.
    """

    names: tuple[str, ...]
    shown: tuple[str, ...]
    families: tuple[str, ...]

    def label(self, name: str) -> str:
        """How one class is written."""
        return self.shown[self.names.index(name)]


def make_labels(names: Sequence[str]) -> Labels:
    """Chooses fonts and labels for class names.

    Returns:
        Labels of at most `LONGEST` characters (plus a number where two would look the same) and the families to use.
    """
    fonts = _Fonts()
    shown = _number_equals([_draw(_shorten(name), fonts) for name in names])
    return Labels(names=tuple(names), shown=shown, families=tuple(fonts.families))


class _Fonts:
    """The families matplotlib falls back on, one after the other; those that a text needs are added as it is met."""

    def __init__(self) -> None:
        self.families = [BASE_FAMILY]
        self._has = {BASE_FAMILY: _coverage(BASE_FAMILY)}
        self._others: list[str] | None = None

    def cover(self, text: str) -> bool:
        """Whether each of these characters is drawn by some family."""
        return all(self._find(character) for character in text)

    def _find(self, character: str) -> bool:
        """Whether a family draws a character; it is then among `families`."""
        if any(self._has[family](character) for family in self.families):
            return True
        if self._others is None:
            self._others = _installed_families()
        for family in self._others:
            self._has[family] = self._has.get(family) or _coverage(family)
            if self._has[family](character):
                self.families.append(family)
                return True
        return False


def _draw(name: str, fonts: _Fonts) -> str:
    """The label of a name: runs of letters are kept or transliterated as a whole, other characters one by one."""
    parts: list[str] = []
    for kind, characters in itertools.groupby(name, key=_kind):
        text = "".join(characters)
        parts.extend(_draw_run(run, fonts) for run in (text if kind == "other" else [text]))
    return "".join(parts).strip() or "?"


def _kind(character: str) -> str:
    """Which characters make a run: Latin letters, other letters and marks, or anything else."""
    if unicodedata.category(character)[0] not in "LM":
        return "other"
    return "latin" if character < "\u0250" else "letters"


def _draw_run(text: str, fonts: _Fonts) -> str:
    """A run of one kind as it is where the fonts can show it, else transliterated."""
    printable = unicodedata.category(text[0])[0] not in "CZ"
    if text.isascii() and text.isprintable():
        return text
    if printable and (_can_shape() or not any(map(_needs_shaping, text))) and fonts.cover(text):
        return text
    return latin(text)


def _can_shape() -> bool:
    """Whether this matplotlib joins and reorders letters (it does where it is built with libraqm, from 3.11 on)."""
    return hasattr(ft2font, "__libraqm_version__")


def _needs_shaping(character: str) -> bool:
    """Right-to-left letters, and marks that must be placed on or around a letter."""
    return unicodedata.bidirectional(character) in ("R", "AL") or unicodedata.category(character)[0] == "M"


def _coverage(family: str) -> Callable[[str], bool]:
    """A test of whether the regular face of a family draws something for a character."""
    font = ft2font.FT2Font(font_manager.findfont(font_manager.FontProperties(family=[family])))
    if ft2font.FaceFlags.SCALABLE not in font.face_flags:
        return lambda _: False  # coloured bitmaps, which matplotlib cannot draw

    def has(character: str) -> bool:
        """Whether the font draws a character: some map one to an empty glyph."""
        if not font.get_char_index(ord(character)):
            return False
        font.load_char(ord(character), flags=ft2font.LoadFlags.NO_SCALE)
        return bool(len(font.get_path()[0])) or unicodedata.category(character) in ("Mn", "Cf", "Zs")

    return has


def _installed_families() -> list[str]:
    """Families with a regular face, sans-serif before others, then by name; fonts installed since are found too."""
    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        try:
            manager.addfont(path)
        except (OSError, RuntimeError):
            continue  # matplotlib leaves out fonts it cannot read as well
    own = str(Path(matplotlib.get_data_path()))  # beside the first family: mathematics, and boxes for every character
    regular = {
        entry.name
        for entry in manager.ttflist
        if entry.weight in (400, "normal", "regular")
        and (entry.style, entry.stretch) == ("normal", "normal")
        and not entry.fname.startswith(own)
        and Path(entry.fname).is_file()  # matplotlib's cache remembers fonts that were removed since
    }
    sans = ("Sans", "Gothic", "Grotesk")
    return sorted(regular - {BASE_FAMILY}, key=lambda name: (not any(word in name for word in sans), name))


def _shorten(name: str) -> str:
    """A name on one line, its middle left out where it is longer than `LONGEST`."""
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if len(name) <= LONGEST:
        return name
    half = (LONGEST - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _number_equals(labels: list[str]) -> tuple[str, ...]:
    """Numbers labels that would look the same."""
    total, seen = Counter(labels), Counter[str]()
    out = []
    for label in labels:
        seen[label] += 1
        out.append(f"{label} ({seen[label]})" if total[label] > 1 else label)
    return tuple(out)
