"""The web application of `podium serve`: MLflow's own protocol, `/predict` for image files, metrics and a demo.

Every answer but MLflow's is JSON. What a client did wrong is one sentence, without paths and without a stack trace.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from podium.core.errors import ModelError, told
from podium.registry.predictor import COLUMN, as_table, not_an_image
from podium.report.pages import inlined, rendered
from podium.serving.request_bodies import JSON, RequestRefused, media_type, read_body, read_images, read_json
from podium.serving.service import Served, Service

_LOG = logging.getLogger(__name__)
_TOP_K = 5
_LONGEST = 300  # characters of what MLflow says of a request
_MLFLOW_TYPES = (JSON, "text/csv")  # Parquet too, but a small file of it may unpack to any size
_RETRY = {"Retry-After": "1"}
_ONLY_HERE = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(service: Service) -> Starlette:
    """The application around a version that answers; it follows the alias while it runs."""
    app = _App(service)

    @asynccontextmanager
    async def follow(_: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(service.follow())
        try:
            yield
        finally:
            following.cancel()

    asks = {"/predict": app.predict, "/explain": app.explain, "/invocations": app.invocations}
    tells: dict[str, Endpoint] = {
        "/ping": app.ping,
        "/version": app.version,
        "/health": app.health,
        "/ready": app.ready,
    }
    tells |= {"/": app.demo, "/metrics": app.metrics}
    routes = [Route(path, partial(app.answer, endpoint, path), methods=["POST"]) for path, endpoint in asks.items()]
    routes += [Route(path, endpoint, methods=["GET"]) for path, endpoint in tells.items()]
    return Starlette(
        routes=routes, exception_handlers={404: _say_status, 405: _say_status, 500: _say_failure}, lifespan=follow
    )


class _App:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service, self._limits, self._metrics = service, service.limits, service.metrics
        self._answering = 0  # requests

    async def answer(self, endpoint: Endpoint, path: str, request: Request) -> Response:
        """Runs an endpoint within the limits; what goes wrong becomes an answer."""
        start = time.perf_counter()
        self._answering += 1
        self._metrics.in_flight.set(self._answering)
        try:
            response = await self._in_time(endpoint, request)
        finally:
            self._answering -= 1
            self._metrics.in_flight.set(self._answering)
        self._metrics.seconds.labels(path).observe(time.perf_counter() - start)
        self._metrics.requests.labels(path, str(response.status_code)).inc()
        return response

    async def _in_time(self, endpoint: Endpoint, request: Request) -> Response:
        """The answer, or why there is none."""
        try:
            if self._answering > self._limits.requests:
                raise RequestRefused(503, f"{self._limits.requests} requests are being answered: try again")
            async with asyncio.timeout(self._limits.seconds):
                return await endpoint(request)
        except RequestRefused as error:
            return _refusal(error.status, told(error))
        except ModelError as error:
            _LOG.warning("a request was not answered: %s", told(error))
            return _refusal(503, "the model cannot answer now: memory is not enough")
        except TimeoutError:
            return _refusal(503, f"no answer within {self._limits.seconds:g} s: try again, with fewer images")
        except ClientDisconnect:
            return _refusal(400, "the request was broken off")

    async def predict(self, request: Request) -> Response:
        """Names what is on images: label, calibrated score, whether it abstains, the likeliest classes."""
        top_k = _whole(request.query_params, "top_k", _TOP_K)
        given = await read_images(request, self._limits)
        served = self._service.served
        answers = await served.probabilities(await served.read([one.image for one in given]))
        rows = [_row(one.name, answer, served, top_k) for one, answer in zip(given, answers, strict=True)]
        said = {**self._by(served), "predictions": rows}
        if any("error" not in row for row in rows):
            return JSONResponse(said)
        first = f"{rows[0]['image']}: {rows[0]['error']}"
        whose = first if len(rows) == 1 else f"none of the {len(rows)} images can be read; {first}"
        return JSONResponse({"error": whose, **said}, 400)

    async def explain(self, request: Request) -> Response:
        """As `predict` for one image, and a picture of what spoke for the class."""
        given = await read_images(request, self._limits)
        if len(given) > 1:
            raise RequestRefused(400, f"{len(given)} images are given: one at a time is explained")
        served = self._service.served
        (read,) = await served.read([given[0].image])
        (answer,) = await served.probabilities([read])
        row = _row(given[0].name, answer, served, _whole(request.query_params, "top_k", _TOP_K))
        if isinstance(read, str) or isinstance(answer, str):
            return JSONResponse({"error": f"{row['image']}: {row['error']}", **self._by(served)}, 400)
        try:
            row["heat_map"] = _png(await served.heat_map(read.pixels, int(answer.argmax())))
        except ModelError as error:
            row["no_heat_map"] = told(error)
        return JSONResponse({**self._by(served), "predictions": [row]})

    async def invocations(self, request: Request) -> Response:
        """MLflow's protocol, as `mlflow models serve` answers it."""
        from mlflow.exceptions import MlflowException
        from mlflow.models import Model
        from mlflow.pyfunc import PyFuncModel, scoring_server

        from podium.registry.package import signature

        as_json = media_type(request, *_MLFLOW_TYPES) == JSON
        body = await (read_json if as_json else read_body)(request, self._limits)
        served = self._service.served
        described = Model(signature=signature(served.loaded.classifier.card.classes))
        model = PyFuncModel(described, _Scorer(served, self._limits.images, self._limits.seconds))
        try:
            said = await asyncio.to_thread(
                scoring_server.invocations, body, request.headers["content-type"], model, described.get_input_schema()
            )
        except MlflowException as error:
            message = error.message.rpartition("\nError: ")[2].strip()[:_LONGEST]  # before it, all that was given
            return JSONResponse({"error_code": error.error_code, "message": message}, error.get_http_status_code())
        return Response(said.response, said.status, media_type=said.mimetype)

    async def demo(self, request: Request) -> Response:
        """A page to try it in a browser; needs no other file and asks nothing but this server."""
        served = self._service.served
        said = {**self._by(served), "classes": served.loaded.classifier.card.classes, "address": request.base_url}
        page = rendered("podium.serving", "demo", "index.html.j2", {}, said)
        return HTMLResponse(page, headers={"Content-Security-Policy": _ONLY_HERE})

    async def ping(self, _: Request) -> Response:
        """That it runs, as MLflow says it."""
        return Response("\n", media_type=JSON)

    async def version(self, _: Request) -> Response:
        """MLflow's version, as MLflow says it."""
        from mlflow.version import VERSION

        return Response(VERSION, media_type=JSON)

    async def health(self, _: Request) -> Response:
        """Which version answers, and whether it is the one that should; the log says why it is not."""
        state = {"status": "behind" if self._service.behind else "ok", "follows": self._service.follows}
        return JSONResponse({**state, **self._by(self._service.served)})

    async def ready(self, _: Request) -> Response:
        """Whether another request would be answered now."""
        if self._answering >= self._limits.requests:
            return _refusal(503, f"{self._answering} requests are being answered")
        return JSONResponse({"status": "ready"})

    async def metrics(self, _: Request) -> Response:
        """What was counted, for Prometheus."""
        return Response(generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    def _by(self, served: Served) -> dict[str, Any]:
        """Who answers."""
        loaded = served.loaded
        return {"name": self._service.name, "version": loaded.version, "model": loaded.classifier.card.model}


class _Scorer:
    """What MLflow's scoring code asks, in a thread of its own: the same answers, by way of the waiting images."""

    def __init__(self, served: Served, most: int, seconds: float) -> None:
        self._served, self._most, self._seconds = served, most, seconds
        self._loop = asyncio.get_running_loop()

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """As `ImageClassifier.predict`.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE, a row holds no readable image, or there are too many.
        """
        from mlflow.exceptions import MlflowException

        images = model_input[COLUMN].tolist()
        if len(images) > self._most:
            told_of = f"{len(images)} images are more than the {self._most} allowed at once"
            raise MlflowException.invalid_parameter_value(told_of)
        answers = asyncio.run_coroutine_threadsafe(self._ask(images), self._loop).result(self._seconds)
        for row, answer in enumerate(answers):
            if isinstance(answer, str):
                raise MlflowException.invalid_parameter_value(f"{not_an_image(row)}{answer}")
        classes = self._served.loaded.classifier.card.classes
        return as_table(classes, np.array(answers, np.float64).reshape(len(answers), len(classes)))

    async def _ask(self, images: list[object]) -> list[NDArray[np.float64] | str]:
        """Their probabilities, or why one cannot be read."""
        return await self._served.probabilities(await self._served.read(images))


def _row(name: str, answer: NDArray[np.float64] | str, served: Served, top_k: int) -> dict[str, Any]:
    """What is said of one image."""
    if isinstance(answer, str):
        return {"image": name, "error": answer}
    classes = served.loaded.classifier.card.classes
    likely = [
        {"label": classes[place], "score": round(float(answer[place]), 6)}
        for place in np.argsort(-answer, kind="stable")[:top_k]
    ]
    return {"image": name, **likely[0], "abstained": served.abstains(answer), "top_k": likely}


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    """A whole number of at least 1 in the query.

    Raises:
        RequestRefused: it is none.
    """
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 7 and int(text)):
        raise RequestRefused(400, f"{name}={text[:20]!r} is no whole number of at least 1")
    return int(text)


def _png(pixels: NDArray[np.uint8]) -> str:
    """A picture, uint8, shape (H, W, 3), as the address of an `<img>`."""
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return inlined(out.getvalue(), "png")


def _refusal(status: int, why: str) -> JSONResponse:
    """Why a request is not answered; the client may try again after a 503."""
    return JSONResponse({"error": why}, status, headers=_RETRY if status == 503 else None)


async def _say_status(_: Request, error: Exception) -> Response:
    """No such address, or another method."""
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _say_failure(_: Request, _error: Exception) -> Response:
    """A defect of ours: the log has its stack trace, the client has not."""
    return JSONResponse({"error": "the server failed; its log says why"}, 500)
