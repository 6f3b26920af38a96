"""Calling `podium` in a test, and what its answers are held against."""

import yaml
from typer.testing import CliRunner

from podium.cli import app


def change_params(root, section, **values):
    raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    raw[section].update(values)
    (root / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")


def change_gates(root, **gates):
    change_params(root, "promote", **gates)


def podium(*arguments):
    return CliRunner().invoke(app, list(arguments))


def one_line(text):
    return text.count("\n") == 1 and "Traceback" not in text
