"""The `podium` command: what DVC and MLflow lack. A command is imported when it is called, so `--help` is quick.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted. An error is one line on stderr.
"""

import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from podium import __version__
from podium.console.process import (
    operating_system_said,
    refuse_pickle,
    run_own_package,
    set_up_logging,
    silence_telemetry,
    use_utf8,
)
from podium.core.errors import PodiumError, PromotionRefused, told

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


class _Command(NamedTuple):
    """A command before it is imported: its module in this package, what it does in a few words, an example."""

    module: str
    summary: str
    example: str


COMMANDS = {
    "status": _Command("status", "Where things stand, and what to do next.", "podium status --json"),
    "init": _Command("init", "Start an experiment on your own images.", "podium init ~/photos --licence CC-BY-4.0"),
    "use": _Command("experiment", "Put an experiment of experiments/ in force.", "podium use folder"),
    "repro": _Command("repro", "Rebuild what changed, several stages at once.", "podium repro --jobs 2"),
    "doctor": _Command("experiment", "Is all fit to work: files, disk, store, account?", "podium doctor"),
    "models": _Command(
        "models", "Architectures, their cost and their weights.", "podium models --matched resnet50 convnext_tiny"
    ),
    "preview-augment": _Command(
        "experiment", "A picture of what training does to images.", "podium preview-augment --images 8"
    ),
    "validate": _Command(
        "experiment",
        "Expectations on the data, and how they fared.",
        "podium validate --explain duplicates_in_one_split",
    ),
    "snapshot": _Command(
        "experiment", "Pack what was fetched into data/, for colleagues.", "podium snapshot produce-2026-11"
    ),
    "compare": _Command("compare", "Any two models on the images both answered.", "podium compare candidate staging"),
    "mistakes": _Command(
        "mistakes", "A page of the images that models get wrong.", "podium mistakes --model resnet18 --slice occluded"
    ),
    "review": _Command("review", "A page to correct labels on, and the file it gives out.", "podium review --most 100"),
    "explain": _Command(
        "explain", "What of an image speaks for the class a model names.", "podium explain lemon.jpg --model staging"
    ),
    "predict": _Command(
        "predict", "What a model names on images, as a table.", "podium predict ~/photos --model staging --top-k 3"
    ),
    "serve": _Command("serve", "A version answers over HTTP.", "podium serve staging"),
    "evaluate": _Command("evaluate", "A model on new labelled images.", "podium evaluate staging --on ~/new-photos"),
    "export": _Command(
        "export", "A version as a folder for others.", "podium export hub ./fruit-classifier --model staging"
    ),
    "drift": _Command(
        "drift", "What a version is asked now, beside its training images.", "podium drift log --model staging"
    ),
    "learning-curve": _Command(
        "learning_curve", "What more training images would bring.", "podium learning-curve --model resnet18"
    ),
    "promote": _Command(
        "promotion",
        "Check a version against the gates, then move the alias.",
        'podium promote candidate --to staging --reason "first model for the pilot"',
    ),
    "approve": _Command(
        "promotion",
        "Agree to a promotion that somebody else asks for.",
        'podium approve 3 --to production --reason "checked on the pilot\'s images"',
    ),
    "rollback": _Command(
        "promotion", "Move an alias back.", 'podium rollback staging --reason "confuses lemons with oranges"'
    ),
    "archive": _Command(
        "promotion", "Keep a version from taking an alias.", 'podium archive 2 --reason "trained on wrong labels"'
    ),
    "history": _Command("promotion", "Who registered or moved what, when and why.", "podium history --json"),
    "audit": _Command("promotion", "Does the store say what the record says?", "podium audit --repair"),
    "diff": _Command("lineage", "How two versions differ.", "podium diff production staging"),
    "server": _Command("server", "Run MLflow for a team, with accounts.", "podium server --port 5000"),
    "grant": _Command("server", "Let an account of the server promote.", "podium grant ada"),
    "webhook": _Command("server", "Tell an address what is promoted.", "podium webhook https://example.org/podium"),
    "verify": _Command("verify", "Make a version again: is it the same?", "podium verify staging"),
    "lineage": _Command("lineage", "From a version back to its data and commit.", "podium lineage staging --mermaid"),
    "data-diff": _Command("data_diff", "Images that changed between two revisions.", "podium data-diff HEAD~1"),
}
"""Every command in the order of the help. The function has the same name, `_` for `-`; its docstring is the help."""
EXIT_CODES = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted."


class _Commands(TyperGroup):
    """Imports a command when it is called, and turns every error a user can cause into one line and an exit code."""

    def __init__(self, **named: Any) -> None:
        """Knows the commands from the start: the nearest one is suggested for a misspelt name."""
        super().__init__(**named)
        self.commands = {name: TyperCommand(name, help=known.summary) for name, known in COMMANDS.items()}

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Their names."""
        return list(COMMANDS)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        """The command that is called, imported now, with its name and the arguments left."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and _imported(str(name)), rest

    def main(self, *args: Any, **named: Any) -> NoReturn:
        """Runs the command line and exits."""
        silence_telemetry()
        refuse_pickle()
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
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: importing what draws frames takes longer than all else together
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


def _imported(name: str) -> Any:
    """A command in full."""
    known = COMMANDS[name]
    function = getattr(import_module(f"podium.cli.{known.module}"), name.replace("-", "_"))
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command(name, epilog=f"Example: {known.example}\n\n{EXIT_CODES}")(function)
    return typer.main.get_command(alone)


def main() -> None:
    """Entry point of the `podium` command."""
    run_own_package()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a class name the terminal cannot show is no reason to fail
    app()
