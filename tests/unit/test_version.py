"""The version stands once, in `podium.__version__`; everything else reads or records it."""

import re
from importlib.metadata import version
from pathlib import Path

import podium

ROOT = Path(__file__).parents[2]


def test_the_installed_package_has_the_version_of_the_code():
    assert version("podium") == podium.__version__, "installed from an older pyproject.toml: run `make install`"


def test_the_changelog_ends_with_the_version_of_the_code():
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == podium.__version__
