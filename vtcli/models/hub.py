"""List the files of a repository on the hub, and explain every refusal of the hub in one line.

All requests use huggingface_hub, so HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, proxies and timeouts work as in every other
program. huggingface_hub reads them when imported, so this module imports it only when needed.
"""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from vtcli.errors import ModelError, VtError, first_line

KINDS = (".safetensors", ".gguf", ".json", ".txt", ".jinja")
"""Suffixes of the files that may be downloaded: no pickles, no code."""

T = TypeVar("T")
TRIES, WAIT = 4, 1.0
"""Attempts without a byte of progress, and seconds before the second attempt; doubled for each further one."""
MOST_WAIT = 60.0
_URL = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>]+")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: its name there, its bytes, and the name of its blob in the cache.

    `blob` is the content's hash: SHA-256 (64 digits) for files in Git LFS, Git's SHA-1 (40 digits) for others.
    """

    name: str
    bytes: int
    blob: str


@dataclass(frozen=True)
class Listing:
    """The files of one commit of a repository; `kind` is "model" or "dataset".

    `files` are those with the requested suffixes; `refused` names other files that hold weights.
    """

    repository: str
    commit: str
    files: dict[str, RemoteFile]
    refused: tuple[str, ...]
    kind: str = "model"


def list_files(repository: str, revision: str | None, kind: str = "model", endings: tuple[str, ...] = KINDS) -> Listing:
    """Asks the hub for the files of a repository. Raises ModelError, one line, if the hub gives no usable answer."""
    with explained(repository, revision, kind):
        from huggingface_hub import HfApi, constants

        session()  # here, so that what it raises is not taken for the hub's answer
        limit = constants.HF_HUB_ETAG_TIMEOUT
        ask = HfApi().dataset_info if kind == "dataset" else HfApi().model_info
        try:
            found = retried(lambda: ask(repository, revision=revision, files_metadata=True, timeout=limit), lambda: 0)
            return _listing(repository, kind, found, endings)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            from huggingface_hub.errors import HFValidationError

            if isinstance(error, UnicodeEncodeError | HFValidationError):
                raise
            raise ModelError(
                f"{endpoint()} does not answer as a hub does: log in to the network if it asks for that, "
                "and check HF_ENDPOINT"
            ) from error


def _listing(repository: str, kind: str, found: Any, endings: tuple[str, ...]) -> Listing:
    """Returns the listing in the hub's answer. Raises TypeError or AttributeError if the answer is malformed."""
    files, refused = {}, []
    for one in found.siblings or []:
        ending = PurePosixPath(one.rfilename).suffix
        if ending not in endings:
            refused += [one.rfilename] if ending in (".bin", ".pt", ".pth", ".ckpt", ".pkl") else []
            continue
        if not stays_inside(one.rfilename):
            raise ModelError(f"{repository} lists a file that would leave its folder ({one.rfilename!r}): not fetched")
        blob = one.lfs.sha256 if one.lfs else one.blob_id
        if one.size is None or blob is None or not _HASH.fullmatch(blob):
            raise ModelError(f"{endpoint()} does not tell size and hash of {repository}'s files: vt cannot check them")
        if not isinstance(one.size, int):
            raise TypeError("a size that is no number")
        files[one.rfilename] = RemoteFile(one.rfilename, one.size, blob)
    if found.sha is None or not _HASH.fullmatch(found.sha):
        raise ModelError(f"{endpoint()} does not tell which commit of {repository} it serves")
    return Listing(repository, found.sha, files, tuple(refused), kind)


def session() -> Any:
    """Returns huggingface_hub's HTTP session. Raises ModelError if it cannot use the proxy that the user configured."""
    from huggingface_hub import get_session

    try:
        return get_session()
    except (ImportError, ValueError) as error:
        reason = _public(first_line(error))
        raise ModelError(f"the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used: {reason}") from error


def retried(ask: Callable[[], T], progress: Callable[[], int], stop: threading.Event | None = None) -> T:
    """Returns the result of `ask`, retrying after temporary failures of the network or the server.

    Gives up after TRIES attempts without new `progress` (bytes), with growing pauses, or once another thread sets
    `stop`.
    """
    failures, before = 0, progress()
    waiting = stop or threading.Event()
    while True:
        try:
            return ask()
        except Exception as error:
            now = progress()
            failures = 1 if now > before else failures + 1
            before = now
            pause = max(WAIT * 2 ** (failures - 1), _asked_to_wait(error))
            if failures >= TRIES or not _passes(error) or waiting.wait(pause):
                raise


def _passes(error: Exception) -> bool:
    """Whether the error is temporary, so that a retry may succeed."""
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    return _is_transport(error) or (type(error) is OSError and error.errno is None)  # the transfer was cut short


def _asked_to_wait(error: Exception) -> float:
    """Returns the seconds that the server asks to wait, at most MOST_WAIT."""
    response = getattr(error, "response", None)
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return min(float(asked), MOST_WAIT) if asked.isdecimal() else 0.0


def _is_transport(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2")


def stays_inside(name: str) -> bool:
    """Whether a file of this name stays inside its folder on any system and is printable."""
    windows = PureWindowsPath(name)
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and not windows.drive and ":" not in name
    return plain and not PurePosixPath(name).is_absolute() and all(part not in ("", ".", "..") for part in parts)


def endpoint() -> str:
    """Returns the hub's address as it may be printed."""
    from huggingface_hub import constants

    return _public(constants.ENDPOINT)


def _public(text: str) -> str:
    """Returns `text` with every URL in it reduced to scheme, host and path: the rest may be secret."""

    def reduced(url: re.Match[str]) -> str:
        scheme, _, rest = url[0].partition("://")
        host, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"

    return _URL.sub(reduced, text)


def is_offline() -> bool:
    """Whether the network must not be used."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


@contextmanager
def explained(repository: str, revision: str | None = None, kind: str = "model") -> Iterator[None]:
    """Turns exceptions of huggingface_hub into ModelError, and disk errors into VtError, each with one line."""
    from huggingface_hub import errors

    page = f"{endpoint()}/{'datasets/' if kind == 'dataset' else ''}{repository}"
    what = "data set" if kind == "dataset" else kind
    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{repository} is gated: accept its terms at {page}, then log in with `hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{endpoint()} has no {what} {repository}, or a private one: check the name, "
            "and for a private one log in with `hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{repository} has no revision {revision}: see {page}/tree/main") from error
    except errors.EntryNotFoundError as error:
        raise ModelError(f"{repository} lists a file that it does not give: {_public(first_line(error))}") from error
    except errors.OfflineModeIsEnabled as error:
        raise ModelError(f"{repository} is not complete on this machine, and the network must not be used") from error
    except errors.HFValidationError as error:
        raise ModelError(f"{repository} is no repository's name: it looks like OWNER/NAME") from error
    except errors.HfHubHTTPError as error:
        raise ModelError(_refusal(repository, error)) from error
    except UnicodeEncodeError as error:
        raise ModelError(
            "the token (HF_TOKEN, or that of `hf auth login`) holds a character that no token has: set it again"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise VtError("the disk is full: what was fetched is kept, free some space and run it again") from error
        if error.errno is not None:
            raise VtError(f"{error.filename or 'the cache'}: {error.strerror}") from error
        raise ModelError(_unreachable(error)) from error
    except Exception as error:
        if _is_transport(error):
            raise ModelError(_unreachable(error)) from error
        raise


def _refusal(repository: str, error: Exception) -> str:
    response: Any = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status in (401, 403):
        return (
            f"{endpoint()} refuses {repository} ({status}): log in with `hf auth login`, or set HF_TOKEN to a token "
            "that may read it"
        )
    if status == 429:
        return f"{endpoint()} asks for fewer requests (429): try again later; what was fetched is kept"
    if status is not None and status >= 500:
        return f"{endpoint()} has a fault of its own ({status}): try again later; what was fetched is kept"
    if status is None:
        return f"{endpoint()} refuses {repository}: {_public(first_line(error))}"
    return f"{endpoint()} refuses {repository}: {status} for {_public(str(response.url))}"


def _unreachable(error: Exception) -> str:
    return f"the connection to {endpoint()} failed ({_public(first_line(error))}): try again; what was fetched is kept"
