"""Every error a user can cause. A message says what was given, the rule, and what to do; it is one line."""

import unicodedata
from collections.abc import Sequence

_BREAKS = ("Cc", "Zl", "Zp")  # control characters and what ends a line or a paragraph


class PodiumError(Exception):
    """Base class: printed as one line, exit code 1."""

    exit_code = 1


class UsageError(PodiumError):
    """The command line itself was wrong: exit code 2."""

    exit_code = 2


class ParamsError(PodiumError):
    """`params.yaml` holds an unknown key, a value out of range, or is not YAML."""


class DataError(PodiumError):
    """Data is missing, unreadable, unsafe, or not what the manifest says."""


class NotPinned(DataError):
    """Nothing in the params says which bytes are meant; the message says what to write there."""


class ValidationFailed(PodiumError):
    """A critical expectation on the dataset does not hold."""


class ModelError(PodiumError):
    """An architecture is unknown, weights do not fit, or training cannot go on."""


class Diverged(ModelError):
    """The loss is no longer a number; a trial of a study that diverges is given up, a training run ends."""


class TrackingError(PodiumError):
    """MLflow cannot be reached or does not hold what was asked for."""


class PromotionRefused(PodiumError):
    """A gate failed, or another promotion got there first."""


def one_line(text: object) -> str:
    """The first line of a foreign error's text, without surrounding space; its class where there is none."""
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return lines[0] if lines else type(text).__name__


def first_few(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first of some texts for a message, and how many more there are: `a, b and 3 more`."""
    return separator.join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def told(error: BaseException) -> str:
    r"""An error's message as one line: control characters that names of files hold are shown as `\n`, `\x1b`."""
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in _BREAKS else character for character in str(error)
    )


def through_proxy(url: str) -> str:
    """What to add to the message of a failed request: the proxy it went through, as the environment says; or nothing.

    Args:
        url: http or https; any other goes through none.
    """
    from urllib.parse import urlsplit

    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url)) if url.startswith("http") else None
    if proxy is None:
        return ""
    shown, host = (
        urlsplit(proxy)._replace(netloc=urlsplit(proxy).netloc.rpartition("@")[2]).geturl(),
        urlsplit(url).hostname,
    )
    return f" (asked through the proxy {shown}; put {host} into NO_PROXY to ask it directly)"
