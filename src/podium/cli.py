"""The `podium` command: what DVC and MLflow lack. Heavy imports stay inside the commands."""

import typer

app = typer.Typer(help="Promote, look up and put experiments in force.", no_args_is_help=True, add_completion=False)


def main() -> None:
    """Entry point of the `podium` command."""
    app()
