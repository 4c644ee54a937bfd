"""Secrets in what is shown: what counts as one, and how it is masked.

A value is a secret by the name of its field (`content_key`, `api-key`, `seed` …), of its query parameter, or by its
place in a URL. `mask` hides it whole (the job object), `mask_tail` leaves the last four characters (the log).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from taskengine.domain.sealed import is_sealed, veiled

MASK = "****"
_TAIL = 4
_SHORTEST_WITH_TAIL = 8  # of a shorter secret, four characters would say too much

_WORDS = (
    "key|keys|secret|secrets|token|tokens|password|passwords|passwd|pwd|passphrase|seed|seeds|credential|credentials"
)
_SECRET_NAME = re.compile(
    rf"(?:.*_)?(?:{_WORDS}|authorization|cookie|signature|sig|apikey|contentkey|accesskey)(?:_(?:hex|base64|b64|value))?"
)
_QUERY_NAME = re.compile(r"auth|code|hdnts|hdnea|hdntl|policy|jwt|sas|credential")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_USER = re.compile(r"(?<=://)([^/?#]*)@")
_QUERY = re.compile(r"([?&#;])([^=&#;?]+)=([^&#;]*)")

Hide = Callable[[str], str]


@lru_cache(maxsize=4096)  # the same headers and fields come with every request
def is_secret_name(name: str) -> bool:
    """Whether a field of that name holds a secret: `key_id` does not, `content-key` and `contentKey` do."""
    return _SECRET_NAME.fullmatch(_snake(name)) is not None


def mask(value: Any) -> Any:
    """A copy of a JSON value with every secret hidden whole."""
    return _masked(value, lambda _: MASK)


def mask_tail(value: Any) -> Any:
    """A copy of a JSON value with every secret hidden but for its last four characters (short and sealed ones whole)."""
    return _masked(value, tail)


def tail(secret: Any) -> str:
    """The last four characters of a secret, masked before them; of a short one, or one that is no text, nothing."""
    return _tail(secret) if isinstance(secret, str) else MASK


def _tail(secret: str) -> str:
    shown = secret[-_TAIL:] if len(secret) >= _SHORTEST_WITH_TAIL or secret.startswith(MASK) else ""
    return MASK + shown if secret != MASK else MASK


def _snake(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def _masked(value: Any, hide: Hide) -> Any:
    if is_sealed(value):
        return MASK
    if isinstance(value, Mapping):
        return {
            name: _hidden(item, hide) if is_secret_name(str(name)) else _masked(item, hide)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(item, hide) for item in value]
    return mask_text(veiled(value, MASK), hide) if isinstance(value, str) else value


def _hidden(value: Any, hide: Hide) -> Any:
    """What a secret's field holds: every text and number of it is hidden; nothing, true and false tell nothing."""
    if is_sealed(value):
        return MASK
    if isinstance(value, Mapping):
        return {name: _hidden(item, hide) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(item, hide) for item in value]
    return value if value is None or value == "" or isinstance(value, bool) else hide(str(value))


def mask_text(text: str, hide: Hide = lambda _: MASK) -> str:
    """A text with the credentials of every URL in it hidden."""
    return _URL.sub(lambda match: _url(match.group(), hide), text) if "://" in text else text


def _url(url: str, hide: Hide) -> str:
    url = _USER.sub(lambda match: _user(match[1], hide) + "@", url)
    return _QUERY.sub(lambda match: _pair(match[1], match[2], match[3], hide), url)


def _user(userinfo: str, hide: Hide) -> str:
    user, colon, password = userinfo.partition(":")
    return f"{user}:{hide(password)}" if colon else hide(user)


def _pair(before: str, name: str, value: str, hide: Hide) -> str:
    secret = is_secret_name(name) or _QUERY_NAME.fullmatch(_snake(name)) is not None
    return f"{before}{name}={hide(value) if secret and value else value}"
