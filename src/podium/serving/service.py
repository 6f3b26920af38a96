"""A registered version that answers many at once: what arrives together is judged together, and it follows its alias.

Image files are decoded in threads, which the decoders let run at once. One thread alone asks the network: while it
computes, images gather, and the next pass takes all that are there, so nobody waits for a batch to fill. What else is
in a pass changes an answer by rounding only (see `Classifier`).
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from podium.config.base import PositiveFloat, PositiveInt, Section
from podium.core.errors import DataError, ModelError, PodiumError, told
from podium.data.preprocess import ReadImage, read_image
from podium.models.explanations import explain
from podium.registry.loading import LoadedModel
from podium.registry.predictor import image_bytes
from podium.report.plots import overlay
from podium.serving.prediction_log import LoggedImage, PredictionLog

_LOG = logging.getLogger(__name__)
_TOGETHER = 16  # images a pass: more of them gain nothing on a CPU, and let the next one wait longer
_LONGEST_PAUSE = 16  # times the seconds between two looks at the alias, after failures
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)

Read = ReadImage | str
"""An image as the model sees it, or why it cannot be read."""
Newer = Callable[[str], LoadedModel | None]
"""The version that holds the alias now, loaded and checked; None where it is the one of the number given.

Raises a `PodiumError` where it cannot be had, or is not what was registered.
"""


class Limits(Section):
    """What a client may ask for.

    Attributes:
        request_bytes: of the body of a request.
        image_bytes: of an image file.
        pixels: of an image; the preprocessing of the version may allow fewer.
        images: in a request.
        requests: that are answered at once; further ones are sent away.
        seconds: for a request to arrive, and for its answer.
    """

    request_bytes: PositiveInt = 32 * 2**20
    image_bytes: PositiveInt = 16 * 2**20
    pixels: PositiveInt = 50_000_000
    images: PositiveInt = 64
    requests: PositiveInt = 64
    seconds: PositiveFloat = 30.0


@dataclass(frozen=True)
class Threads:
    """The threads of a server: those that decode image files, and the one that asks the network.

    `torch` is how many threads that one may compute with; None for as many as the version was trained with.
    """

    decoding: ThreadPoolExecutor
    asking: ThreadPoolExecutor
    torch: int | None = None

    @classmethod
    def start(cls, decoding: int, torch: int | None = None) -> "Threads":
        """Threads of a number that decode, and one that asks."""
        return cls(ThreadPoolExecutor(decoding, "decode"), ThreadPoolExecutor(1, "ask"), torch)


class Metrics:
    """What a server counts, for Prometheus."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter
        self.registry = there = CollectorRegistry()
        self.requests = Counter("podium_requests", "Requests.", ["endpoint", "status"], registry=there)
        self.seconds = Histogram(
            "podium_request_seconds", "From headers to answer.", ["endpoint"], buckets=_SECONDS, registry=there
        )
        self.in_flight = Gauge("podium_requests_in_flight", "Requests that are being answered.", registry=there)
        self.images = Counter("podium_images", "Images by what became of them.", ["outcome"], registry=there)
        self.together = Histogram(
            "podium_images_together", "Images of a pass.", buckets=(1, 2, 4, 8, _TOGETHER), registry=there
        )
        self.version = Gauge(
            "podium_version", "1 for the version that answers.", ["name", "version", "model"], registry=there
        )
        self.behind = Gauge("podium_behind", "1 while the holder of the alias cannot answer.", registry=there)
        self.failures = Counter("podium_follow_failures", "Vain tries to load the alias's holder.", registry=there)
        ProcessCollector(registry=there)


class Served:
    """A version that answers, and the images that wait for it."""

    def __init__(
        self, loaded: LoadedModel, limits: Limits, threads: Threads, metrics: Metrics, log: Path | None = None
    ) -> None:
        how = loaded.classifier.card.preprocessing
        self.loaded = loaded
        self._preprocessing = how.model_copy(update={"max_pixels": min(limits.pixels, how.max_pixels)})
        self._log = PredictionLog(log, loaded) if log else None
        self._limits, self._threads, self._metrics = limits, threads, metrics
        self._waiting: list[tuple[NDArray[np.uint8], asyncio.Future[NDArray[np.float64]]]] = []
        self._pass: asyncio.Task[None] | None = None

    async def read(self, images: Sequence[object]) -> list[Read]:
        """Decodes image files, given as bytes or as base64 text."""
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(self._threads.decoding, self._read, one) for one in images))

    async def probabilities(self, read: Sequence[Read]) -> list[NDArray[np.float64] | str]:
        """Calibrated probabilities, shape (C,), of each image that was read, and why others were not.

        Raises:
            ModelError: memory is not enough.
        """
        asked = {place: self._ask(image.pixels) for place, image in enumerate(read) if not isinstance(image, str)}
        found = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
        answers = [image if isinstance(image, str) else found[place] for place, image in enumerate(read)]
        for answer in answers:
            self._metrics.images.labels(self._outcome(answer)).inc()
        if self._log and found:
            await asyncio.get_running_loop().run_in_executor(self._threads.decoding, self._note, read, answers)
        return answers

    def abstains(self, probabilities: NDArray[np.float64]) -> bool:
        """Whether the likeliest class is below the confidence that the version answers at."""
        threshold = self.loaded.threshold
        return threshold is not None and bool(probabilities.max() < threshold)

    async def heat_map(self, pixels: NDArray[np.uint8], target: int) -> NDArray[np.uint8]:
        """What of an image speaks for a class, by Grad-CAM, in colour over the image in grey, shape (S, S, 3).

        Raises:
            ModelError: the network has no feature map, or ONNX Runtime computes it.
        """
        if self.loaded.runtime == "onnx":
            raise ModelError("ONNX Runtime computes no gradients: start the server without --runtime onnx")

        def look() -> NDArray[np.uint8]:
            found = explain(self.loaded.classifier, pixels[None], "gradcam", np.array([target]), batch_size=1)
            return overlay(pixels, found[0])

        # in the one thread that asks the network, since it keeps what layers give while it looks
        return await asyncio.get_running_loop().run_in_executor(self._threads.asking, look)

    def _read(self, image: object) -> Read:
        """One image file as the model sees it, or why it cannot be read."""
        most = self._limits.image_bytes
        too_large = f"the file has more than the {most:,} bytes that are allowed here"
        try:
            if isinstance(image, str) and len(image) > 2 * most:  # base64 has 4 characters for 3 bytes, and line ends
                return too_large
            data = image_bytes(image)
            if len(data) > most:
                return too_large
            return self._log.read(data, self._preprocessing) if self._log else read_image(data, self._preprocessing)
        except DataError as error:
            return told(error)

    def _note(self, read: Sequence[Read], answers: Sequence[NDArray[np.float64] | str]) -> None:
        """Adds the answers to the log; where that fails they are given all the same, and the server's log says why."""
        classes = self.loaded.classifier.card.classes
        rows = [
            (image, classes[int(answer.argmax())], float(answer.max()), self.abstains(answer))
            for image, answer in zip(read, answers, strict=True)
            if isinstance(image, LoggedImage) and not isinstance(answer, str)
        ]
        try:
            if self._log:
                self._log.append(rows)
        except (PodiumError, OSError) as error:
            _LOG.warning("%d answers are missing in the prediction log: %s", len(rows), told(error))

    def _ask(self, pixels: NDArray[np.uint8]) -> "asyncio.Future[NDArray[np.float64]]":
        """What the network will say of an image; starts a pass if none is under way."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[NDArray[np.float64]] = loop.create_future()
        self._waiting.append((pixels, answer))
        if self._pass is None:
            self._pass = loop.create_task(self._answer_waiting())
        return answer

    async def _answer_waiting(self) -> None:
        """Asks the network about all that waits, until nothing does."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            now, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            now = [(pixels, answer) for pixels, answer in now if not answer.done()]  # who gave up waits no more
            if now:
                images, answers = zip(*now, strict=True)
                self._metrics.together.observe(len(now))
                try:
                    rows = await loop.run_in_executor(self._threads.asking, self._ask_network, images)
                except PodiumError as error:
                    for answer in answers:
                        answer.done() or answer.set_exception(error)
                else:
                    for answer, row in zip(answers, rows, strict=True):
                        answer.done() or answer.set_result(row)
        self._pass = None

    def _ask_network(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Calibrated probabilities of a pass, shape (N, C)."""
        return self.loaded.probabilities(np.stack(images), len(images))

    def _outcome(self, answer: NDArray[np.float64] | str) -> str:
        """What became of an image, as the metrics call it."""
        if isinstance(answer, str):
            return "unreadable"
        return "abstained" if self.abstains(answer) else "answered"


class Service:
    """The version that answers now, and how the next one takes its place.

    Attributes:
        name: of the registered model.
        served: the version that answers now. A request takes it once: all its images are judged by one version.
        behind: why the version that holds the alias does not answer; empty where it does.
        follows: whether it follows an alias.
    """

    def __init__(
        self,
        name: str,
        loaded: LoadedModel,
        limits: Limits,
        threads: Threads,
        *,
        newer: Newer | None = None,
        poll_seconds: float = 10.0,
        log: Path | None = None,
    ) -> None:
        """As above.

        Args:
            name: of the registered model.
            loaded: the version that answers first.
            limits: what a client may ask for.
            threads: that decode and ask.
            newer: asked every `poll_seconds` for the version that holds the alias; None for never.
            poll_seconds: between two looks.
            log: the folder of a prediction log; None for none.
        """
        self.name, self.limits, self.threads, self.metrics = name, limits, threads, Metrics()
        self.follows, self.behind = newer is not None, ""
        self._newer, self._poll_seconds, self._log = newer, poll_seconds, log
        self._put_in_place(loaded)

    async def follow(self) -> None:
        """Follows the alias until it is cancelled: its holder is loaded and checked beside the old one, then swapped.

        After a failure the old one goes on, and the pauses between two tries grow.
        """
        pause = self._poll_seconds
        while self._newer is not None:
            await asyncio.sleep(pause)
            before = self.served.loaded.version
            try:
                loaded = await asyncio.to_thread(self._newer, before)
            except (PodiumError, OSError) as error:
                pause = min(2 * pause, _LONGEST_PAUSE * self._poll_seconds)
                self._stay(told(error))
                continue
            pause = self._poll_seconds
            if loaded is not None:
                self._put_in_place(loaded)
                _LOG.info("version %s answers now (before: version %s)", loaded.version, before)
            self.behind = ""
            self.metrics.behind.set(0)

    def _stay(self, why: str) -> None:
        """Notes why the holder of the alias does not answer, and says it once."""
        if why != self.behind:
            _LOG.warning("version %s goes on answering: %s", self.served.loaded.version, why)
        self.behind = why
        self.metrics.behind.set(1)
        self.metrics.failures.inc()

    def _put_in_place(self, loaded: LoadedModel) -> None:
        """Makes a version the one that answers; who was asked before answers what it was asked."""
        import torch

        threads = self.threads.torch or loaded.classifier.compute.runtime.threads
        self.threads.asking.submit(torch.set_num_threads, threads)
        self.served = Served(loaded, self.limits, self.threads, self.metrics, self._log)
        self.metrics.version.clear()
        self.metrics.version.labels(self.name, loaded.version, loaded.classifier.card.model).set(1)
