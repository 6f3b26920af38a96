"""How models move and who moved them: `podium promote`, `approve`, `rollback`, `archive`, `history`, `audit`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli import AsJson
from podium.config.params import Params, load
from podium.config.problems import nearest
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import PromotionRefused, TrackingError, UsageError
from podium.core.layout import Layout

if TYPE_CHECKING:
    from podium.records.audit import AuditEntry, GateResult
    from podium.registry.promotion import PromotionRequest

WHO = 6  # column of the history
_Key = Annotated[
    Path | None,
    typer.Option(
        "--key", metavar="FILE", envvar="PODIUM_SIGNING_KEY", help="Your private key (Ed25519, PEM): signs the entry."
    ),
]


def promote(
    version: Annotated[
        str, typer.Argument(help="A version's number, or `candidate`: the newest registered winner.")
    ] = "candidate",
    *,
    to: Annotated[str | None, typer.Option("--to", metavar="ALIAS", help="Where to: staging, production.")] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why, kept in the audit record.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote past failed gates; recorded as forced.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Say what every gate would say, and move nothing.")] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Ask the model about every test image again, not about some.")
    ] = False,
    key: _Key = None,
    as_json: AsJson = False,
) -> None:
    """Check a version against rules and gates in params.yaml and, if all hold, move the alias to it."""
    from podium.registry import promotion

    if check and (force or reason is not None):
        raise UsageError("--check moves nothing: leave --force and --reason out")
    if not check and (to is None or reason is None):
        raise UsageError(f"Missing option '{'--to' if to is None else '--reason'}': see `podium promote --help`")
    layout = project()
    params = load(layout.params)
    wanted, alias = _version(version), _alias(to or next(iter(params.promote.moves)), params)
    if check:
        _print_check(layout, params, promotion.PromotionRequest(wanted, alias, "", thorough=thorough), as_json)
        return
    request = promotion.PromotionRequest(wanted, alias, _reason(reason or ""), force, thorough, key)
    with _telling("promote", alias, as_json) as show:
        _print_move(promotion.promote(layout, params, request, show), as_json)


def _print_check(layout: Layout, params: Params, request: "PromotionRequest", as_json: bool) -> None:
    """What every gate says of a version.

    Raises:
        PromotionRefused: one of them refuses it.
    """
    from podium.registry import promotion

    number, results = promotion.check(layout, params, request)
    alias = request.alias
    refusal = promotion.describe_refusal(results)
    if as_json:
        gates = [gate.model_dump() for gate in results]
        print_json(
            {"version": number, "alias": alias, "passes": not refusal, "refused": refusal or None, "gates": gates}
        )
    else:
        _print_gates(results)
    if refusal:
        raise PromotionRefused(f"version {number} would be refused: {refusal} (nothing was changed)")
    if not as_json:
        print(f"version {number} passes every gate; nothing was changed")
        print(f'Next: podium promote {number} --to {alias} --reason "..."')


def rollback(
    alias: Annotated[str, typer.Argument(help="Which alias: staging, production.")],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, kept in the audit record.")
    ] = "rolled back",
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="VERSION|DATE",
            help="A version that held it, or when that was (ISO 8601, UTC; a day: its end).",
        ),
    ] = None,
    key: _Key = None,
    as_json: AsJson = False,
) -> None:
    """Move an alias back to the version that held it before, one step per call, or to an earlier one."""
    from podium.registry import promotion

    layout = project()
    params = load(layout.params)
    alias, reason, to = _alias(alias, params), _reason(reason), to and _version_or_moment(to)
    with _telling("rollback", alias, as_json) as show:
        _print_move(promotion.rollback(layout, params, alias, reason, show, to=to, key=key), as_json)


def approve(
    version: Annotated[str, typer.Argument(help="A version's number, or `candidate`.")],
    to: Annotated[str, typer.Option("--to", metavar="ALIAS", help="For a promotion to it.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, kept in the audit record.")],
    key: _Key = None,
    as_json: AsJson = False,
) -> None:
    """Agree to a promotion that somebody else asks for; it holds for the version as it is now, for some days."""
    from podium.registry import approvals

    layout = project()
    params = load(layout.params)
    entry = approvals.approve(layout, params, _version(version), _alias(to, params), _reason(reason), key=key)
    if as_json:
        print_json(entry.model_dump(by_alias=True))
        return
    until = (entry.expires or "")[:16].replace("T", " ")
    print(f"{entry.by} approves version {entry.to_version} for {entry.alias} until {until}; audit entry {entry.number}")
    print(f'Next, by somebody else: podium promote {entry.to_version} --to {entry.alias} --reason "..."')


def archive(
    version: Annotated[str, typer.Argument(help="A version's number.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, kept in the audit record.")],
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Let an archived version take an alias again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a version from ever taking an alias again; it stays where it is."""
    from podium.registry import approvals

    layout = project()
    entry = approvals.archive(layout, load(layout.params), _version(version), _reason(reason), undo=undo)
    if as_json:
        print_json(entry.model_dump(by_alias=True))
        return
    done = "may take an alias again" if undo else "is archived: it takes no alias any more"
    print(f"version {entry.to_version} {done}; audit entry {entry.number}")


def history(as_json: AsJson = False) -> None:
    """Show all that was done to versions: who, when, why, from where to where; newest last."""
    from podium.registry.audit import read_record
    from podium.registry.integrity import contradictions
    from podium.registry.moves import NOT_COMMITTED
    from podium.registry.read_only import find_registered

    layout = project()
    params = load(layout.params)
    name = params.publish.registered_model
    registered = find_registered(layout, name)
    if registered is None:
        raise TrackingError(
            f"no model is registered as {name!r}: run `dvc repro`, whose last stage registers the winner"
        )
    record = read_record(layout, name, registered.tags)
    if as_json:
        print_json([entry.model_dump(mode="json", by_alias=True) for entry in record.entries])
        return
    if not record.entries:
        print(f"{name} has no record yet: `dvc repro publish` begins one.")
        return
    shown = table(
        "#", "when (UTC)", "action", "alias", "from", "to", "who", "reason", right=("#",), fold=("who", "reason")
    )
    shown.columns[WHO].max_width = 18
    for entry in record.entries:
        past = f" (forced past {', '.join(entry.failed)})" if entry.forced else ""
        past += "".join(f" (limits {gate.observed})" for gate in entry.gates if gate.observed.startswith(NOT_COMMITTED))
        when = entry.when[:16].replace("T", " ")
        add_row(
            shown,
            str(entry.number),
            when,
            "force" if entry.forced else entry.action,
            entry.alias,
            entry.from_version or "-",
            entry.to_version,
            entry.by,
            entry.reason + past,
        )
    console().print(shown)
    if record.behind:
        print(f"{record.behind} more entries are in the store: `podium audit` fetches them")
    if found := [*record.problems, *contradictions(record, registered, params)]:
        print("\nThe store does not say what the record says (see `podium audit`):")
        print("\n".join(f"- {problem}" for problem in found))


def audit(
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Bring entries, aliases and stages back to what the record says.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hold the store against the audit record: entries, aliases, tags, every file of every package, gates."""
    from podium.registry import integrity

    layout = project()
    params = load(layout.params)
    done = integrity.restore(layout, params) if repair else []
    record, found = integrity.audit_model(layout, params)
    if as_json:
        print_json({"entries": len(record.entries), "repaired": done, "problems": found})
    else:
        for line in done:
            print(f"repaired: {line}")
        for problem in found:
            print(f"- {problem}")
        if record.elsewhere:
            last = max(entry.when for entry in record.elsewhere)
            print(f"{len(record.elsewhere)} entries of the file are of other stores, the last of {last}")
    if found:
        undo = "" if repair else ": `podium audit --repair` brings back entries, aliases and stages"
        raise PromotionRefused(f"{len(found)} things in the store contradict the record of {record.name}{undo}")
    if not as_json:
        versions = len({entry.to_version for entry in record.entries})
        print(f"{record.name}: {len(record.entries)} entries about {versions} versions hold, and so does the store")


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
        """Keeps the results for a refusal, and prints them for people."""
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


def _alias(given: str, params: Params) -> str:
    """The alias as given.

    Raises:
        UsageError: nothing can be promoted to it; the nearest is named.
    """
    moves = params.promote.moves
    if given not in moves:
        known = ", ".join(f"`{name}`" for name in moves)
        raise UsageError(f"alias {given!r} is not available{nearest(given, moves)} (aliases: {known})")
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


def _version_or_moment(given: str) -> str:
    """A version's number, or a moment in ISO 8601 with its time zone; a day is its last second.

    Raises:
        UsageError: it is neither.
    """
    if given.isascii() and given.isdigit():
        return str(int(given))
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise UsageError(
            f"--to {given!r} is neither a version nor a date: as in 3, 2026-11-28, 2026-11-28T14:30"
        ) from None
    if len(given) == len("2026-11-28"):
        moment = moment.replace(hour=23, minute=59, second=59)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _reason(given: str) -> str:
    """The reason on one line.

    Raises:
        UsageError: it is empty or too long for the audit record.
    """
    from podium.registry.audit import REASON_LIMIT

    reason = " ".join(given.split())
    if not reason.isprintable():
        raise UsageError("the reason holds what cannot be printed: write it as plain text")
    if not reason:
        raise UsageError('the reason is empty: say why, as in --reason "first model for the pilot"')
    if len(reason) > REASON_LIMIT:
        raise UsageError(f"the reason has {len(reason)} characters; at most {REASON_LIMIT} are kept: shorten it")
    return reason
