"""The `podium` command: what DVC and MLflow lack. Heavy imports stay inside the commands, so `--help` is quick.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted. An error is one line on stderr.
"""

import sys
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from podium import __version__
from podium.cli import experiment, models, promotion
from podium.console.logs import set_up_logging
from podium.console.shell import operating_system_said, silence_telemetry, use_utf8
from podium.core.errors import PodiumError, PromotionRefused, told


class _Commands(TyperGroup):
    """Turns every error a user can cause into one line and an exit code, for every command."""

    def main(self, *args: Any, **named: Any) -> NoReturn:
        """Runs the command line and exits."""
        silence_telemetry()
        use_utf8()
        try:
            code = super().main(*args, **{**named, "standalone_mode": False})
        except PodiumError as error:
            kind = "refused" if isinstance(error, PromotionRefused) else "error"
            print(f"{kind}: {told(error)}", file=sys.stderr)
            code = error.exit_code
        except typer.TyperException as error:  # wrong usage
            message = error.format_message().rstrip(".")
            if message:  # none where no command was given: the help has been shown
                print(f"error: {message}; see `podium --help`", file=sys.stderr)
            code = error.exit_code
        except OSError as error:
            code = operating_system_said(error)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    cls=_Commands,
    help="Put experiments in force, see where things stand, promote a model and keep its papers in order.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    """What `--version` does: prints it and ends."""
    if wanted:
        print(f"podium {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say warnings and results alone.")] = False,
) -> None:
    """Options of every command."""
    set_up_logging(verbose=verbose, quiet=quiet)


app.command(epilog="Example: podium status --json")(promotion.status)
app.command(epilog="Example: podium use folder")(experiment.use)
app.command(epilog="Example: podium doctor --repair")(experiment.doctor)
app.command(epilog="Example: podium models --matched resnet50 convnext_tiny")(models.models)
app.command(epilog="Example: podium preview-augment --images 8")(experiment.preview_augment)
app.command(epilog="Example: podium validate --explain duplicates_in_one_split")(experiment.validate)
app.command(epilog="Example: podium snapshot produce-2026-11")(experiment.snapshot)
app.command(epilog='Example: podium promote candidate --to staging --reason "first model for the pilot"')(
    promotion.promote
)
app.command(epilog='Example: podium rollback staging --reason "confuses lemons with oranges"')(promotion.rollback)
app.command(epilog="Example: podium history --json")(promotion.history)


def main() -> None:
    """Entry point of the `podium` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a class name the terminal cannot show is no reason to fail
    app()
