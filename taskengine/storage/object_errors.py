"""What the object storage library raises, as the errors of the port: never a query or a credential in their texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore import exceptions

from taskengine.domain.errors import NotFound, StorageError, TaskEngineError

_STATUS = re.compile(r"status code: (\d{3})[^:\n]*")
_CODE = re.compile(r"<Code>(\w{1,80})</Code>")
_NO_PLACE = {"NoSuchBucket", "ContainerNotFound"}
_LASTING = {400, 404, 405, 409, 411, 413, 501}
_REFUSED = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise NotFound or StorageError that name `where`.

    Refused credentials are retryable: another worker may have the right ones, or they are mended meanwhile.
    """
    try:
        yield
    except (FileNotFoundError, exceptions.BaseError) as error:
        raise _told(where, error) from error


def _told(where: str, error: Exception) -> TaskEngineError:
    status = _STATUS.search(str(error))
    if _code(error) in _NO_PLACE:
        return StorageError(f"{where}: the bucket or container does not exist", retryable=False)
    if isinstance(error, FileNotFoundError):
        return NotFound(f"{where} does not exist")
    if isinstance(error, exceptions.PreconditionError):
        return StorageError(f"{where} was replaced while it was fetched")
    if isinstance(error, _REFUSED) or (status and int(status[1]) in {401, 403}):
        return StorageError(f"{where}: access was refused ({_reason(error)}): check its credentials")
    lasting = isinstance(error, exceptions.InvalidPathError) or (status and int(status[1]) in _LASTING)
    return StorageError(f"{where}: {_reason(error)}", retryable=not lasting)


def _code(error: Exception) -> str | None:
    found = _CODE.search(str(error))
    return found[1] if found else None


def _reason(error: Exception) -> str:
    """What the server answered, or why there was no answer."""
    text = str(error)
    if status := _STATUS.search(text):
        code = _code(error)
        return f"the server answered {status[1]}{f' {code}' if code else ''}"
    if "HTTP error" in text:
        return "the server does not answer" if "sending request" in text else "the connection broke"
    first = text.partition("\n")[0]
    return re.sub(r"https?://\S+", "the server", first)[:200]
