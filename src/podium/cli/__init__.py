"""The `podium` command: what DVC and MLflow lack. Heavy imports stay inside the commands, so `--help` is quick."""

from podium.cli.app import app, main

__all__ = ["app", "main"]
