"""`podium status`: the experiment in force, what is out of date, results, registered versions, and what to do next."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from podium.cli import AsJson
from podium.cli.experiment import experiment_in_force
from podium.config.params import Params, load
from podium.console.committed import differ_from_commit
from podium.console.dag import describe_stale, find_stale, read_yaml, value_at
from podium.console.dvc_files import mend
from podium.console.openings import count_openings
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import DataError, TrackingError
from podium.core.layout import DECISION, DVC_LOCK, LEADERBOARD, Layout
from podium.records.evaluation import Decision, Leaderboard
from podium.records.training import read_times

if TYPE_CHECKING:
    from podium.registry.holder import Versus
    from podium.registry.read_only import RegisteredModel

_TAGS = ("model", "accuracy", "macro_f1", "validation_passed", "outcome", "comparable", "fingerprint")
_SHOWN = 30  # models of one set of test images


@dataclass(frozen=True)
class _Version:
    """A registered version in the words of `podium status`."""

    version: str
    model: str
    accuracy: str
    macro_f1: str
    validation_passed: str
    outcome: str
    comparable: str
    aliases: list[str]
    fingerprint: str


def status(
    as_json: AsJson = False,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Show the models of all experiments, by the images they were tested on.")
    ] = False,
) -> None:
    """Show the experiment in force, what is out of date, the leaderboard, the registered versions, and what is next."""
    layout = project()
    if every:
        _print_all(layout, as_json)
    else:
        _print_in_force(layout, as_json)


def _print_in_force(layout: Layout, as_json: bool) -> None:
    """All about the experiment in force."""
    mend(layout)
    params = load(layout.params)
    board, decision, unreadable = _comparison(layout)
    used = count_openings(layout, board, params.evaluate.openings_budget) if board else None
    kept, stale = experiment_in_force(layout), find_stale(layout)
    try:
        registered, problem = _registered(layout, params), None
    except TrackingError as error:
        registered, problem = None, str(error)
    versions = _versions(registered)
    against = _against_holder(layout, params, registered, board, decision)
    steps, warnings = _advise(layout, params, registered, stale, unreadable)
    held, contradicted = _on_record(layout, params, registered)
    warnings += contradicted
    if as_json:
        print_json(
            {
                "experiment": params.experiment,
                "kept_as": kept,
                "stale": stale,
                "leaderboard": board.model_dump(mode="json") if board else None,
                "decision": decision.model_dump(mode="json") if decision else None,
                "test_openings": {**asdict(used), "bias": used.bias} if used else None,
                "against_holder": against.model_dump(mode="json") if against else None,
                "registered_model": params.publish.registered_model,
                "versions": [asdict(version) for version in versions],
                "registry_problem": problem,
                "warnings": warnings,
                "next": [how for _, how in steps],
            }
        )
        return
    out = console()
    like = f"experiments/{kept}.yaml" if kept else "params.yaml, kept in no file of experiments/"
    out.print(f"[bold]In force:[/] {params.experiment} ({like})")
    if stale:
        out.print(f"[bold]Out of date:[/] {escape(describe_stale(stale))}")
    _print_board(layout, board, decision, _whose(layout, params, stale) if board else "")
    out.print(f"\n[bold]Registered as {params.publish.registered_model}[/]")
    if problem:
        out.print(problem, markup=False)
    else:
        _print_versions(versions)
    told = [("In use", held)] if held else []
    told += [("Ledger", used.said)] if used else []
    told += [("Against the version in use", against.said)] if against else []
    _print_told([*told, *(("Note", warning) for warning in warnings)], steps)


def _comparison(layout: Layout) -> tuple[Leaderboard | None, Decision | None, list[str]]:
    """What the last comparison left, in a clone that has run nothing the copy that git keeps; None, and why, for none.

    An earlier Podium may have written it: a warning says so, since all else can be told without it.
    """
    here = (layout.comparison / LEADERBOARD).is_file()
    folder = layout.comparison if here else layout.comparison_report
    board, decision = folder / LEADERBOARD, folder / DECISION
    try:
        return (
            Leaderboard.read(board) if board.is_file() else None,
            Decision.read(decision) if decision.is_file() else None,
            [],
        )
    except DataError as error:
        return None, None, [f"the last comparison is damaged, or of another version of Podium: {error}"]


def _print_told(told: list[tuple[str, str]], steps: list[tuple[str, str]]) -> None:
    """What a person should know, each under its heading, and what to do next, each with its command."""
    out = console()
    for heading, text in told:
        out.print(f"\n[bold]{heading}:[/] {escape(text)}")
    out.print("\n[bold]Next[/]")
    for what, how in steps:
        out.print(f"  {what:<20}{how}", markup=False)


def _print_all(layout: Layout, as_json: bool) -> None:
    """The models of all experiments in MLflow: a leaderboard for each set of test images, the newest set first."""
    from podium.analysis.statistics import percent
    from podium.tracking.trained import TrainedModel, find_trained

    trained, unknown = find_trained(layout)
    sets: dict[str, list[TrainedModel]] = {}
    for one in sorted(trained, key=lambda one: -one.started):
        sets.setdefault(one.test_images, [])
    for one in trained:
        sets[one.test_images].append(one)
    if as_json:
        print_json([one.model_dump(mode="json") for models in sets.values() for one in models])
        return
    if not trained:
        print("No experiment is in MLflow yet: run `dvc repro`.")
    for models in sets.values():
        shown = table(
            "#", "model", "experiment", "accuracy [95 %]", "commit", right=("#",), fold=("model", "experiment")
        )
        shown.title = f"{models[0].images:,} test images, best accuracy first"
        shown.title_justify = "left"
        for place, one in enumerate(models[:_SHOWN], start=1):
            commit = one.commit[:8] + ("" if one.committed or one.commit == "none" else ", uncommitted")
            add_row(shown, str(place), one.model, one.experiment, percent(one.accuracy), commit)
        console().print(shown)
        if len(models) > _SHOWN:
            print(f"and {len(models) - _SHOWN} more: podium status --all --json")
        print()
    if len(sets) > 1:
        print("Accuracies on different test images cannot be compared.")
    if unknown:
        print(f"{unknown} runs do not say what they were tested on: their stage was interrupted, or they are older.")


def _print_board(layout: Layout, board: Leaderboard | None, decision: Decision | None, whose: str) -> None:
    """The leaderboard and whose it is, or how to get one."""
    if board is None:
        print("No comparison yet: run `dvc repro`.")
        return
    from podium.analysis.leaderboard import confidence_table, leaderboard_table

    out = console()
    out.print(whose)
    out.print(leaderboard_table(board, decision))
    times = {row.model: read_times(layout, row.fingerprint).get("latency_p50_seconds") for row in board.rows}
    out.print(confidence_table(board, times))


def _other_experiment(layout: Layout, params: Params) -> str | None:
    """The experiment that the results on disk are of, where that is not the one in force."""
    locked = value_at(read_yaml(layout.root / DVC_LOCK), "stages.publish.params")
    held = locked.get(layout.params.name, {}) if isinstance(locked, Mapping) else {}
    name = held.get("experiment")
    return str(name) if name and name != params.experiment else None


def _whose(layout: Layout, params: Params, stale: Mapping[str, str]) -> str:
    """Which experiment the leaderboard on disk is of, where that is not the one in force; a line in rich's markup."""
    if (name := _other_experiment(layout, params)) is not None:
        return f"\nThe results below are those of experiment [bold]{escape(name)}[/]; {params.experiment} has not run."
    return "\nThe results below are those of the last run, before what changed since." if stale else ""


def _advise(
    layout: Layout,
    params: Params,
    registered: "RegisteredModel | None",
    stale: Mapping[str, str],
    known: list[str],
) -> tuple[list[tuple[str, str]], list[str]]:
    """What to do next, each with its command, and what a person should know first, besides what is `known`."""
    steps = [("rebuild the results", "dvc repro")] if stale else []
    steps += [("open MLflow", "make ui"), ("all experiments", "podium status --all")] if registered else []
    steps += [("read the report", Layout(Path()).report.as_posix())] if layout.report.is_file() else []
    warnings = known + ([] if stale else differ_from_commit(layout))
    from podium.registry.evidence import CANDIDATE

    if registered is None or CANDIDATE not in registered.aliases:
        return steps or [("run the experiment", "dvc repro")], warnings
    from podium.registry.gates import foresee
    from podium.registry.holder import describe_fall
    from podium.registry.promotion import describe_refusal

    number = registered.aliases[CANDIDATE]
    tags = next((version.tags for version in registered.versions if version.version == number), {})
    fall = describe_fall(registered)
    warnings += [fall] if fall else []
    first = next(iter(params.promote.moves))
    if registered.aliases.get(first) == number:
        return steps, warnings
    refusal = describe_refusal(foresee(number, tags, params.promote.moves[first], layout))
    if refusal:
        warnings.append(f"promote would refuse the candidate, version {number}: {refusal}")
    steps.append(("what the gates say", "podium promote candidate --check"))
    if not refusal and not stale:
        steps.append(("promote the winner", f'podium promote candidate --to {first} --reason "..."'))
    return steps, warnings


def _on_record(layout: Layout, params: Params, registered: "RegisteredModel | None") -> tuple[str, list[str]]:
    """Who holds which alias since when, and one sentence where the store contradicts the record; no package is read."""
    if registered is None:
        return "", []
    from podium.registry.audit import read_record
    from podium.registry.integrity import contradictions

    record = read_record(layout, registered.name, registered.tags)
    last = {alias: record.last(alias) for alias in params.promote.moves}
    held = "; ".join(f"{at}: version {e.to_version} since {e.when[:10]}, {e.by}" for at, e in last.items() if e)
    found = [*record.problems, *([] if record.behind else contradictions(record, registered, params))]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    told = [f"the store contradicts the audit record: {found[0]}{more}; see `podium audit`"] if found else []
    return held, told


def _registered(layout: Layout, params: Params) -> "RegisteredModel | None":
    """The registered model; None where nothing was ever published here.

    Raises:
        TrackingError: the store does not answer.
    """
    from podium.registry.read_only import find_registered

    return find_registered(layout, params.publish.registered_model)


def _against_holder(
    layout: Layout,
    params: Params,
    registered: "RegisteredModel | None",
    board: Leaderboard | None,
    decision: Decision | None,
) -> "Versus | None":
    """The winner against the version at `staging`; None where one of the two is not there or of another experiment."""
    from podium.registry.holder import compare_with_holder

    if board is None or decision is None or _other_experiment(layout, params) is not None:
        return None
    return compare_with_holder(layout, registered, board, decision.winner, params.compare)


def _versions(registered: "RegisteredModel | None") -> list[_Version]:
    """Registered versions, oldest first."""
    if registered is None:
        return []
    return [
        _Version(
            version=version.version,
            aliases=sorted(alias for alias, number in registered.aliases.items() if number == version.version),
            **{name: version.tags.get(f"podium.{name}", "-") for name in _TAGS},
        )
        for version in registered.versions
    ]


def _print_versions(versions: list[_Version]) -> None:
    """The registered versions as a table, or what to run for one."""
    if not versions:
        print("No version yet: run `dvc repro`.")
        return
    numbers = ("version", "accuracy", "macro F1")
    headings = ("version", "model", "accuracy", "macro F1", "valid", "outcome", "fair", "aliases")
    shown = table(*headings, right=numbers, fold=("aliases",))
    for v in versions:
        rates = (_three(v.accuracy), _three(v.macro_f1))
        judged = (_yes_or_no(v.validation_passed), v.outcome, _yes_or_no(v.comparable))
        add_row(shown, v.version, v.model, *rates, *judged, ", ".join(v.aliases))
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
