"""`podium server`, `grant` and `webhook`: MLflow for a team, who may promote on it, and who is told."""

import os
import secrets
from typing import Annotated

import typer

from podium.config.params import load
from podium.console.terminal import project
from podium.core.errors import UsageError
from podium.core.layout import Layout


def server(
    *,
    backend_store_uri: Annotated[
        str, typer.Option(envvar="MLFLOW_BACKEND_STORE_URI", help="postgresql://USER:PASSWORD@HOST/NAME.")
    ] = "",
    artifacts_destination: Annotated[
        str, typer.Option(envvar="MLFLOW_ARTIFACTS_DESTINATION", help="s3://BUCKET/PREFIX.")
    ] = "",
    s3_endpoint: Annotated[
        str, typer.Option(envvar="MLFLOW_S3_ENDPOINT_URL", help="Of an S3-compatible store; Amazon's has none.")
    ] = "",
    host: Annotated[str, typer.Option(envvar="MLFLOW_HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="MLFLOW_PORT", min=1, max=65535)] = 5000,
    workers: Annotated[int, typer.Option(envvar="MLFLOW_WORKERS", min=1, help="Processes that answer.")] = 2,
) -> None:
    """Run MLflow for a team: PostgreSQL, S3, accounts; everybody may read, who may promote is granted by name.

    Secrets come from the environment: MLFLOW_AUTH_ADMIN_PASSWORD (of the first start), MLFLOW_FLASK_SERVER_SECRET_KEY,
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY. An address with a password belongs there, too: `ps` shows options.
    """
    from podium.tracking.server import ServerSettings, serve

    raise typer.Exit(serve(ServerSettings(backend_store_uri, artifacts_destination, s3_endpoint, host, port, workers)))


def grant(
    user: Annotated[str, typer.Argument(help="An account of the server.")],
    *,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="A registered model; default: that of params.yaml.")
    ] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take the right back.")] = False,
) -> None:
    """Let an account register and promote versions of a model on the team's server; for its administrators."""
    from podium.tracking import server

    layout = project()
    params, uri = load(layout.params), _server(layout, "it has no accounts")
    name = model or params.publish.registered_model
    server.grant(uri, user, name, params.experiment, revoke=revoke)
    print(
        f"{user} may {'not ' if revoke else ''}register and promote versions of {name}{' any more' if revoke else ''}"
    )


def webhook(
    url: Annotated[str | None, typer.Argument(help="Where to send to; none lists the webhooks that there are.")] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Send nothing there any more.")] = False,
) -> None:
    """Have the team's server tell an address of each promotion, refusal and rollback, signed; for administrators.

    A new webhook's secret is PODIUM_WEBHOOK_SECRET or made, and printed once. One that is there already is tried again.
    """
    from podium.tracking import server

    if remove and url is None:
        raise UsageError("--remove asks for an address: `podium webhook` lists them")
    uri = _server(project(), "nothing sends webhooks")
    known = server.list_webhooks(uri)
    if url is None:
        print("\n".join(known) or "no webhooks: `podium webhook https://...` adds one")
    elif remove:
        if url not in known:
            raise UsageError(f"there is no webhook to {url}: `podium webhook` lists them")
        server.remove_webhook(uri, known[url])
        print(f"{url} is told nothing any more")
    else:
        if url not in known:
            given = os.environ.get("PODIUM_WEBHOOK_SECRET")
            secret = given or secrets.token_hex(32)
            server.add_webhook(uri, url, secret)
            print(f"{url} is told from now on; the secret that signs: {'as given' if given else secret}")
            known = server.list_webhooks(uri)
        print(f"an example was sent there: answered {server.try_webhook(uri, known[url])}")


def _server(layout: Layout, why: str) -> str:
    """The address of the team's server, which answers.

    Raises:
        UsageError: the store is none.
    """
    from podium.tracking import store

    uri = store.tracking_uri(layout)
    if not store.is_server(uri):
        raise UsageError(f"{store.told_uri(layout)} is no server, so {why}: set MLFLOW_TRACKING_URI to the team's")
    store.open_client(layout)
    return uri
