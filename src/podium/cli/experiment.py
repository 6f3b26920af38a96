"""`podium status`, `podium use`: where the experiment stands, and which one is in force."""

import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from podium.config.params import Params, load
from podium.config.problems import nearest
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import ParamsError, TrackingError
from podium.core.files import replacing
from podium.core.layout import DECISION, LEADERBOARD, MLFLOW_DB, Layout
from podium.records.evaluation import Decision, Leaderboard

NEXT = (
    ("open MLflow", "make ui"),
    ("read the report", Layout(Path()).report.as_posix()),
    ("promote the winner", 'podium promote candidate --to staging --reason "..."'),
)


@dataclass(frozen=True)
class _Version:
    """A registered version in the words of `podium status`."""

    version: str
    model: str
    accuracy: str
    macro_f1: str
    validation_passed: str
    comparable: str
    aliases: list[str]
    fingerprint: str


def status(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Show the leaderboard, the decision, the registered versions and what to do next."""
    layout = project()
    params = load(layout.params)
    board, decision = _results(layout)
    try:
        versions, problem = _versions(layout, params), None
    except TrackingError as error:
        versions, problem = [], str(error)
    if as_json:
        print_json(
            {
                "experiment": params.experiment,
                "leaderboard": board.model_dump(mode="json") if board else None,
                "decision": decision.model_dump(mode="json") if decision else None,
                "registered_model": params.publish.registered_model,
                "versions": [asdict(version) for version in versions],
                "registry_problem": problem,
                "next": [how for _, how in NEXT],
            }
        )
        return
    out = console()
    _print_results(board, decision)
    out.print(f"\n[bold]Registered as {params.publish.registered_model}[/]")
    if problem:
        out.print(problem, markup=False)
    else:
        _print_versions(versions)
    out.print("\n[bold]Next[/]")
    for what, how in NEXT:
        out.print(f"  {what:<20}{how}", markup=False)


def use(
    name: Annotated[str | None, typer.Argument(help="A file of experiments/ without .yaml; none = list them.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite edits of params.yaml that are kept nowhere.")
    ] = False,
) -> None:
    """Put an experiment in force: experiments/NAME.yaml becomes params.yaml."""
    layout = project()
    folder = layout.root / "experiments"
    known = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    present = layout.params.read_bytes()
    if name is None:
        for known_name, path in known.items():
            print(f"{known_name}{'  (in force)' if path.read_bytes() == present else ''}")
        return
    if name not in known:
        listed = ", ".join(known) or "none"
        raise ParamsError(f"experiment {name!r} is not in experiments/{nearest(name, known)} (experiments: {listed})")
    load(known[name])
    wanted = known[name].read_bytes()
    if wanted == present:
        print(f"{name} is in force already.")
        return
    kept = any(path.read_bytes() == present for path in known.values()) or _committed(layout) == present
    if not kept and not force:
        raise ParamsError(
            "params.yaml has edits that are neither in experiments/ nor committed: keep them with "
            "`cp params.yaml experiments/MINE.yaml`, or drop them with --force"
        )
    with replacing(layout.params) as temporary:
        temporary.write_bytes(wanted)
    print(f"{name} is in force. Next: dvc repro")


def _committed(layout: Layout) -> bytes | None:
    """`params.yaml` as git has it; None where git does not know it."""
    try:
        said = subprocess.run(
            ["git", "-C", str(layout.root), "show", "HEAD:./params.yaml"], capture_output=True, check=False
        )
    except OSError:  # no git here
        return None
    return said.stdout if said.returncode == 0 else None


def _results(layout: Layout) -> tuple[Leaderboard | None, Decision | None]:
    """What `compare` wrote; None for what is not there yet.

    Raises:
        DataError: a file is there and is damaged.
    """
    board, decision = layout.comparison / LEADERBOARD, layout.comparison / DECISION
    return (
        Leaderboard.read(board) if board.is_file() else None,
        Decision.read(decision) if decision.is_file() else None,
    )


def _print_results(board: Leaderboard | None, decision: Decision | None) -> None:
    """The leaderboard with the verdict, or what to run for one."""
    from podium.analysis.leaderboard import leaderboard_table

    if board is None:
        print("No comparison yet: run `dvc repro`.")
        return
    console().print(leaderboard_table(board, decision))


def _versions(layout: Layout, params: Params) -> list[_Version]:
    """Registered versions, oldest first; none where nothing was ever published here.

    Raises:
        TrackingError: the store does not answer.
    """
    from podium.registry import store
    from podium.registry.versions import open_registry

    if store.is_local(store.tracking_uri(layout)) and not (layout.main_root / MLFLOW_DB).is_file():
        return []
    registry = open_registry(layout, params)
    with store.translate_errors(registry.uri):
        found = registry.versions()
        aliases = registry.aliases() if found else {}
    return [
        _Version(
            version=str(version.version),
            model=version.tags.get("podium.model", "-"),
            accuracy=version.tags.get("podium.accuracy", "-"),
            macro_f1=version.tags.get("podium.macro_f1", "-"),
            validation_passed=version.tags.get("podium.validation_passed", "-"),
            comparable=version.tags.get("podium.comparable", "-"),
            aliases=sorted(alias for alias, number in aliases.items() if number == str(version.version)),
            fingerprint=version.tags.get("podium.fingerprint", "-"),
        )
        for version in found
    ]


def _print_versions(versions: list[_Version]) -> None:
    """The registered versions as a table, or what to run for one."""
    if not versions:
        print("No version yet: run `dvc repro`.")
        return
    shown = table(
        "version",
        "model",
        "accuracy",
        "macro F1",
        "data valid",
        "comparable",
        "aliases",
        right=("version", "accuracy", "macro F1"),
        fold=("aliases",),
    )
    for v in versions:
        add_row(
            shown,
            v.version,
            v.model,
            _three(v.accuracy),
            _three(v.macro_f1),
            _yes_or_no(v.validation_passed),
            _yes_or_no(v.comparable),
            ", ".join(v.aliases),
        )
    console().print(shown)


def _yes_or_no(tag: str) -> str:
    """A tag `true` or `false` as people read it; any other text as it is."""
    return {"true": "yes", "false": "NO"}.get(tag, tag)


def _three(rate: str) -> str:
    """A rate with three decimals; a text that is no number (`-`) as it is."""
    try:
        return f"{float(rate):.3f}"
    except ValueError:
        return rate
