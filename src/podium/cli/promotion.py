"""Where models stand and how they move: `podium status`, `podium promote`, `podium rollback`, `podium history`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.config.params import Params, load
from podium.config.problems import nearest
from podium.console.dvc_files import mend
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import PromotionRefused, TrackingError, UsageError
from podium.core.layout import DECISION, LEADERBOARD, Layout
from podium.records.evaluation import Decision, Leaderboard

if TYPE_CHECKING:
    from podium.registry.audit import AuditEntry
    from podium.registry.gates import GateResult

NEXT = (
    ("open MLflow", "make ui"),
    ("read the report", Layout(Path()).report.as_posix()),
    ("promote the winner", 'podium promote candidate --to staging --reason "..."'),
)
WHO = 6  # column of the history
_TAGS = ("model", "accuracy", "macro_f1", "validation_passed", "outcome", "comparable", "fingerprint")
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


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


def status(as_json: AsJson = False) -> None:
    """Show the leaderboard, the decision, the registered versions and what to do next."""
    layout = project()
    mend(layout)
    params = load(layout.params)
    leaderboard, verdict = layout.comparison / LEADERBOARD, layout.comparison / DECISION
    board = Leaderboard.read(leaderboard) if leaderboard.is_file() else None
    decision = Decision.read(verdict) if verdict.is_file() else None
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
    if board is None:
        print("No comparison yet: run `dvc repro`.")
    else:
        from podium.analysis.leaderboard import leaderboard_table

        out.print(leaderboard_table(board, decision))
    out.print(f"\n[bold]Registered as {params.publish.registered_model}[/]")
    if problem:
        out.print(problem, markup=False)
    else:
        _print_versions(versions)
    out.print("\n[bold]Next[/]")
    for what, how in NEXT:
        out.print(f"  {what:<20}{how}", markup=False)


def _versions(layout: Layout, params: Params) -> list[_Version]:
    """Registered versions, oldest first; none where nothing was ever published here.

    Raises:
        TrackingError: the store does not answer.
    """
    from podium.registry.read_only import find_registered

    found = find_registered(layout, params.publish.registered_model)
    if found is None:
        return []
    return [
        _Version(
            version=version.version,
            aliases=sorted(alias for alias, number in found.aliases.items() if number == version.version),
            **{name: version.tags.get(f"podium.{name}", "-") for name in _TAGS},
        )
        for version in found.versions
    ]


def _print_versions(versions: list[_Version]) -> None:
    """The registered versions as a table, or what to run for one."""
    if not versions:
        print("No version yet: run `dvc repro`.")
        return
    numbers = ("version", "accuracy", "macro F1")
    headings = ("version", "model", "accuracy", "macro F1", "data valid", "outcome", "comparable", "aliases")
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


def promote(
    version: Annotated[
        str, typer.Argument(help="A version's number, or `candidate`: the newest registered winner.")
    ] = "candidate",
    *,
    to: Annotated[str, typer.Option("--to", metavar="ALIAS", help="Where to: staging.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, kept in the audit record.")],
    force: Annotated[bool, typer.Option("--force", help="Promote past failed gates; recorded as forced.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a version against the gates in params.yaml and, if all pass, move the alias to it."""
    from podium.registry import promotion

    request = promotion.PromotionRequest(_version(version), _alias(to), _reason(reason), force)
    layout = project()
    with _telling("promote", request.alias, as_json) as show:
        _print_move(promotion.promote(layout, load(layout.params), request, show), as_json)


def rollback(
    alias: Annotated[str, typer.Argument(help="Which alias: staging.")],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, kept in the audit record.")
    ] = "rolled back",
    as_json: AsJson = False,
) -> None:
    """Move an alias back to the version that held it before, one step per call."""
    from podium.registry import promotion

    alias, reason = _alias(alias), _reason(reason)
    layout = project()
    with _telling("rollback", alias, as_json) as show:
        _print_move(promotion.rollback(layout, load(layout.params), alias, reason, show), as_json)


def history(as_json: AsJson = False) -> None:
    """Show every promotion and rollback: who, when, why, from where to where; newest last."""
    from podium.registry.audit import STAGES, audit_of
    from podium.registry.read_only import find_registered

    layout = project()
    name = load(layout.params).publish.registered_model
    registered = find_registered(layout, name)
    if registered is None:
        raise TrackingError(
            f"no model is registered as {name!r}: run `dvc repro`, whose last stage registers the winner"
        )
    aliases, entries = registered.aliases, audit_of(name, registered.tags)
    if as_json:
        print_json([entry.model_dump(by_alias=True) for entry in entries])
        return
    if not entries:
        print(f"{name} was never promoted.")
        print('Next: podium promote candidate --to staging --reason "..."')
        return
    shown = table(
        "#", "when (UTC)", "action", "alias", "from", "to", "who", "reason", right=("#",), fold=("who", "reason")
    )
    shown.columns[WHO].max_width = 18
    for entry in entries:
        past = f" (forced past {', '.join(entry.failed)})" if entry.forced else ""
        when = entry.when[:16].replace("T", " ")
        add_row(
            shown,
            str(entry.number),
            when,
            "force" if entry.forced else entry.action,
            entry.alias,
            entry.from_version or "-",
            entry.to_version,
            entry.who,
            entry.reason + past,
        )
    console().print(shown)
    for alias in STAGES:
        _print_disagreement(entries, alias, aliases.get(alias))


def _print_disagreement(entries: Sequence["AuditEntry"], alias: str, holder: str | None) -> None:
    """Tells when an alias is not where the record ends."""
    from podium.registry.audit import is_unfinished, list_holders

    recorded = list_holders(entries, alias)
    if not recorded or recorded[-1] == holder:
        return
    print(f"\n{alias} is at version {holder or '-'}, but the record ends at {recorded[-1]}:")
    if is_unfinished(entries, alias, holder):
        print("the last move was interrupted; give its command again")
    else:
        print(f"somebody moved it past Podium; `podium rollback {alias}` takes it back")


def _print_gates(results: Sequence["GateResult"]) -> None:
    """A table of the gates: what each requires and what it saw."""
    from rich.text import Text

    shown = table("gate", "required", "observed", "pass", fold=("required", "observed"))
    for gate in results:
        verdict = Text("yes", "green") if gate.passed else Text("NO", "bold red")
        add_row(shown, gate.name, gate.required, gate.observed, verdict)
    console().print(shown)
    print()


@contextmanager
def _telling(action: str, alias: str, as_json: bool) -> Iterator[Callable[[Sequence["GateResult"]], None]]:
    """Gives what is told the gates' results before anything moves: it prints them for people.

    A refusal is printed for scripts in the shape of a move; the error itself goes on to stderr.
    """
    seen: list[GateResult] = []

    def show(results: Sequence["GateResult"]) -> None:
        seen.extend(results)
        if not as_json:
            _print_gates(results)

    try:
        yield show
    except PromotionRefused as refusal:
        if as_json:
            gates = [gate.model_dump() for gate in seen]
            print_json({"moved": False, "action": action, "alias": alias, "refused": str(refusal), "gates": gates})
        raise


def _print_move(entry: "AuditEntry", as_json: bool) -> None:
    """What was moved where, and the number of its audit entry."""
    if as_json:
        print_json({"moved": True, **entry.model_dump(by_alias=True)})
        return
    came = f" (before: version {entry.from_version})" if entry.from_version else ""
    forced = f", forced past {', '.join(entry.failed)}" if entry.forced else ""
    print(f"version {entry.to_version} is now at {entry.alias}{came}{forced}; audit entry {entry.number}")


def _alias(given: str) -> str:
    """The alias as given.

    Raises:
        UsageError: nothing can be promoted to it; the nearest is named.
    """
    from podium.registry.audit import STAGES

    if given not in STAGES:
        known = ", ".join(f"`{name}`" for name in STAGES)
        raise UsageError(f"alias {given!r} is not available{nearest(given, STAGES)} (aliases: {known})")
    return given


def _version(given: str) -> str:
    """`candidate`, or a number without leading zeros.

    Raises:
        UsageError: it is neither.
    """
    from podium.registry.evidence import CANDIDATE

    if given != CANDIDATE and not (given.isascii() and given.isdigit()):
        raise UsageError(f"version {given!r} is neither a number nor `{CANDIDATE}`: see `podium status`")
    return given if given == CANDIDATE else str(int(given))


def _reason(given: str) -> str:
    """The reason on one line.

    Raises:
        UsageError: it is empty or too long for the audit record.
    """
    from podium.registry.audit import REASON_LIMIT

    reason = " ".join(given.split())
    if not reason:
        raise UsageError('the reason is empty: say why, as in --reason "first model for the pilot"')
    if len(reason) > REASON_LIMIT:
        raise UsageError(f"the reason has {len(reason)} characters; at most {REASON_LIMIT} are kept: shorten it")
    return reason
