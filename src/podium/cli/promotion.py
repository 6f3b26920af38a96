"""How models move and who moved them: `podium promote`, `podium rollback`, `podium history`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli import AsJson
from podium.config.params import load
from podium.config.problems import nearest
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import PromotionRefused, TrackingError, UsageError
from podium.core.layout import Layout

if TYPE_CHECKING:
    from podium.registry.audit import AuditEntry
    from podium.registry.gates import GateResult

WHO = 6  # column of the history


def promote(
    version: Annotated[
        str, typer.Argument(help="A version's number, or `candidate`: the newest registered winner.")
    ] = "candidate",
    *,
    to: Annotated[str | None, typer.Option("--to", metavar="ALIAS", help="Where to: staging.")] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why, kept in the audit record.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote past failed gates; recorded as forced.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Say what every gate would say, and move nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a version against the gates in params.yaml and, if all pass, move the alias to it."""
    from podium.registry import promotion

    if check and (force or reason is not None):
        raise UsageError("--check moves nothing: leave --force and --reason out")
    if not check and (to is None or reason is None):
        raise UsageError(f"Missing option '{'--to' if to is None else '--reason'}': see `podium promote --help`")
    wanted, alias = _version(version), _alias(to or "staging")
    layout = project()
    if check:
        _print_check(layout, wanted, alias, as_json)
        return
    request = promotion.PromotionRequest(wanted, alias, _reason(reason or ""), force)
    with _telling("promote", alias, as_json) as show:
        _print_move(promotion.promote(layout, load(layout.params), request, show), as_json)


def _print_check(layout: Layout, wanted: str, alias: str, as_json: bool) -> None:
    """What every gate says of a version.

    Raises:
        PromotionRefused: one of them refuses it.
    """
    from podium.registry import promotion

    number, results = promotion.check(layout, load(layout.params), wanted, alias)
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
    from podium.registry import store
    from podium.registry.audit import STAGES, audit_of, read_audit
    from podium.registry.read_only import find_registered
    from podium.registry.versions import open_registry

    layout = project()
    name = load(layout.params).publish.registered_model
    registered = find_registered(layout, name)
    if registered is None:
        raise TrackingError(
            f"no model is registered as {name!r}: run `dvc repro`, whose last stage registers the winner"
        )
    aliases, entries = registered.aliases, audit_of(name, registered.tags)
    if as_json:  # what every gate saw is an artifact, which MLflow has to be asked for
        registry = open_registry(layout, load(layout.params))
        with store.translate_errors(registry.uri):
            entries = read_audit(registry.client, registry.name, gates=True)
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
