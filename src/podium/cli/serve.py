"""`podium serve staging`: a version that answers over HTTP, and follows its alias."""

import socket
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.compare import RuntimeOption, find_version
from podium.config.params import load
from podium.console.terminal import project
from podium.core.errors import UsageError, one_line

if TYPE_CHECKING:
    from podium.registry.loading import LoadedModel, RuntimeName
    from podium.registry.read_only import RegisteredModel, Version
    from podium.serving.service import Limits, Threads

_MIB = 2**20
_GRACE = 10  # seconds that requests have to be answered when the server is stopped


def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="A version: an alias, which is followed, or its number (models:/NAME@ALIAS, models:/NAME/3).",
            show_default=False,
        ),
    ],
    *,
    host: Annotated[str, typer.Option(help="The address to answer at. There is no log-in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 5001,
    poll: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks at the alias.")] = 10.0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Torch's threads; as many as the version was trained with if not given.")
    ] = None,
    decoders: Annotated[int, typer.Option(min=1, help="Threads that decode image files.")] = 2,
    max_request_mib: Annotated[int, typer.Option(min=1, help="MiB of a request.")] = 32,
    max_image_mib: Annotated[int, typer.Option(min=1, help="MiB of an image file.")] = 16,
    max_pixels: Annotated[int, typer.Option(min=1, help="Pixels of an image.")] = 50_000_000,
    max_images: Annotated[int, typer.Option(min=1, help="Images of a request.")] = 64,
    max_requests: Annotated[int, typer.Option(min=1, help="Requests that are answered at once.")] = 64,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a request to arrive and be answered.")] = 30.0,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Note every answer there for `podium drift`; no pixel and no name."),
    ] = None,
    runtime: RuntimeOption = "torch",
) -> None:
    """Answer over HTTP what a version names on images; an alias is followed without a restart.

    GET / is a page to try it. POST /predict and /explain take image files or base64 texts, POST /invocations is
    MLflow's protocol, GET /metrics is for Prometheus; /health, /ready, /ping and /version say how it is.
    docs/runbook.md, Serve a version, shows requests.
    """
    listening = _listen(host, port)
    from podium.serving.service import Limits, Threads

    limits = Limits(
        request_bytes=max_request_mib * _MIB,
        image_bytes=max_image_mib * _MIB,
        pixels=max_pixels,
        images=max_images,
        requests=max_requests,
        seconds=timeout,
    )
    with listening:
        _run(model, limits, Threads.start(decoders, threads), poll, listening, log=log, runtime=runtime)


def _run(
    model: str,
    limits: "Limits",
    threads: "Threads",
    poll: float,
    listening: socket.socket,
    *,
    log: Path | None,
    runtime: "RuntimeName",
) -> None:
    """Loads the version and answers at a socket until the process is told to end."""
    import uvicorn

    from podium.registry.loading import load_version
    from podium.serving.app import make_app
    from podium.serving.service import Service

    layout = project()
    params = load(layout.params)
    if model in params.models:
        raise UsageError(
            f"{model!r} is a model of the experiment: register it (`dvc repro publish`) and name its version"
        )

    def opened(registered: "RegisteredModel", version: "Version") -> "LoadedModel":
        """A version as it answers, once it is as recorded and has answered its golden batch."""
        return load_version(layout, registered, version, model, ask_golden=True, runtime=runtime)

    def newer(now: str) -> "LoadedModel | None":
        """The version that is meant now, where it is another than the one of the number given."""
        registered, version = find_version(layout, params, model, " and no version of {}")
        return None if version.version == now else opened(registered, version)

    registered, version = find_version(layout, params, model, " and no version of {}")
    loaded = opened(registered, version)
    follows = model.replace("@", "/").rpartition("/")[2] in registered.aliases
    service = Service(
        registered.name, loaded, limits, threads, newer=newer if follows else None, poll_seconds=poll, log=log
    )
    config = uvicorn.Config(make_app(service), log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE)
    host, port = listening.getsockname()[:2]
    print(
        f"{registered.name}, version {version.version} ({loaded.classifier.card.model}) answers at "
        f"http://{f'[{host}]' if ':' in host else host}:{port}",
        flush=True,
    )
    uvicorn.Server(config).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    """A socket at an address; says so where others than this machine reach it.

    Raises:
        UsageError: there is no such address, or something listens there.
    """
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.create_server(where[:2], family=family)
        # asyncio sets it for sockets of protocol TCP alone, and this one's is 0: an answer would wait for the client's
        # delayed acknowledgement, 40 ms; accepted connections inherit it
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise UsageError(
            f"nothing can listen at {host}:{port} ({one_line(error)}): give another --host or --port"
        ) from error
    if not ip_address(found.getsockname()[0]).is_loopback:
        print(f"warning: whoever reaches {host} can ask: there is no log-in, so put one in front of it", flush=True)
    return found
