"""`podium export hub DIR --model staging`: a version as a folder for others."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from podium.cli.compare import find_version
from podium.config.params import load
from podium.console.terminal import project
from podium.core.errors import UsageError
from podium.core.layout import HUB_CARD


class _Form(StrEnum):
    """In what form a version leaves the registry."""

    HUB = "hub"


def export(
    form: Annotated[_Form, typer.Argument(help="hub: a repository of the Hugging Face hub.", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="The folder to make.", show_default=False)],
    model: Annotated[
        str, typer.Option(help="A version: its number, an alias, models:/NAME@ALIAS.", show_default=False)
    ],
) -> None:
    """Write a version as a folder that others load without Podium: weights, configuration, model card, licences.

    `timm.create_model("local-dir:DIR", pretrained=True)` loads it. Nothing is uploaded.
    """
    from podium.registry.hub import write_hub_folder

    layout = project()
    if folder.exists():
        raise UsageError(f"{folder} is there already: name a folder that is not")
    params = load(layout.params)
    if model in params.models:
        raise UsageError(f"{model!r} is a model of the experiment: `dvc repro publish` makes its winner a version")
    registered, version = find_version(layout, params, model, " and no version of {}")
    write_hub_folder(layout, registered, version, model, folder)
    print(f"{folder}: {registered.name} version {version.version}; timm.create_model('local-dir:{folder}') loads it")
    print(f"read {folder / HUB_CARD} before you pass it on; `hf upload NAME {folder}` would")
