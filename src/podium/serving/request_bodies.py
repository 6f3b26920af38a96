"""What a request to a server gives: image files of a form, or base64 texts in JSON, within limits."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from podium.core.errors import PodiumError, told
from podium.serving.service import Limits

JSON, FORM = "application/json", "multipart/form-data"
_LARGE = 2**18  # bytes of JSON from which it is read in a thread of its own
_SHOWN = 80  # characters of what was given that are worth repeating


class RequestRefused(PodiumError):
    """A request that is not answered, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Given:
    """An image of a request: what the answer calls it, and its file as bytes or as base64 text."""

    name: str
    image: object


async def read_images(request: Request, limits: Limits) -> list[Given]:
    """The images of a request, at least one.

    Raises:
        RequestRefused: there are none, or too many, or the request is of another kind.
    """
    given = await (_of_form if media_type(request, FORM, JSON) == FORM else _of_json)(request, limits)
    if not given:
        raise RequestRefused(400, "no image is given")
    if len(given) > limits.images:
        raise RequestRefused(413, f"{len(given)} images are more than the {limits.images} allowed at once")
    return given


def media_type(request: Request, *taken: str) -> str:
    """What the body is said to be.

    Raises:
        RequestRefused: it is none of those that are taken.
    """
    said = request.headers.get("content-type", "")
    kind = said.partition(";")[0].strip().casefold()
    if kind not in taken:
        raise RequestRefused(415, f"content type {said[:_SHOWN]!r} is not taken: send {' or '.join(taken)}")
    return kind


async def read_json(request: Request, limits: Limits) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RequestRefused: the body is none.
    """
    body = await read_body(request, limits)
    try:
        found = await asyncio.to_thread(from_json, body) if len(body) > _LARGE else from_json(body)
    except ValueError as error:
        raise RequestRefused(400, f"the body is no JSON: {told(error)}") from error
    if not isinstance(found, dict):
        raise RequestRefused(400, "the body is no JSON object")
    return found


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body.

    Raises:
        RequestRefused: it is too large.
    """
    return b"".join([chunk async for chunk in _arriving(request, limits)])


async def _of_json(request: Request, limits: Limits) -> list[Given]:
    """The images of `{"images": [...]}`.

    Raises:
        RequestRefused: it is another document.
    """
    found = await read_json(request, limits)
    if list(found) != ["images"] or not isinstance(found["images"], list):
        raise RequestRefused(400, 'the JSON is not {"images": [...]} with base64 texts of image files')
    return [Given(str(place), image) for place, image in enumerate(found["images"])]


async def _of_form(request: Request, limits: Limits) -> list[Given]:
    """The files of a form.

    Raises:
        RequestRefused: it cannot be read, or holds something else.
    """

    async def arriving() -> AsyncGenerator[bytes, None]:
        async for chunk in _arriving(request, limits):
            yield chunk
        if not parser.ended:  # told from in here, the parser forgets what it has
            raise RequestRefused(400, "the form was cut off")

    most = limits.images + 1  # one more is told as too many
    parser = _Parser(request.headers, arriving(), max_files=most, max_fields=most)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RequestRefused(400, f"the form cannot be read: {error.message}") from error
    given: list[Given] = []
    try:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                told_of = f"the field {name[:_SHOWN]!r} is no file: send files (curl -F image=@photo.jpg)"
                raise RequestRefused(400, told_of)
            given.append(Given(value.filename or str(len(given)), await value.read()))
    finally:
        await form.close()
    return given


async def _arriving(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """The body as it comes; of one that is too large the rest is not kept, but read, or no answer would arrive.

    Raises:
        RequestRefused: it is too large.
    """
    most, size = limits.request_bytes, 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            yield chunk
    if size > most:
        raise RequestRefused(413, f"{size:,} bytes are more than the {most:,} allowed in a request")


class _Parser(MultiPartParser):
    """Keeps files in memory, which the limit of a request allows, and knows whether it saw the form's end."""

    spool_max_size = 2**40
    ended = False

    def on_end(self) -> None:
        """The last boundary has come."""
        self.ended = True
