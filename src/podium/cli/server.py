"""`podium server` and `podium grant`: MLflow for a team, and who may promote on it."""

from typing import Annotated

import typer

from podium.config.params import load
from podium.console.terminal import project
from podium.core.errors import UsageError


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
    from podium.registry.server import ServerSettings, serve

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
    from podium.registry import server, store

    layout = project()
    params, uri = load(layout.params), store.tracking_uri(layout)
    if not store.is_server(uri):
        raise UsageError(
            f"{store.told_uri(layout)} is no server, so it has no accounts: set MLFLOW_TRACKING_URI to the team's"
        )
    name = model or params.publish.registered_model
    store.open_client(layout)
    server.grant(uri, user, name, params.experiment, revoke=revoke)
    print(
        f"{user} may {'not ' if revoke else ''}register and promote versions of {name}{' any more' if revoke else ''}"
    )
