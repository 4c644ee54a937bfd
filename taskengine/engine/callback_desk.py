"""What people do about callbacks: have given-up ones delivered again, and try an endpoint out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from taskengine.domain.errors import Fault, InvalidRequest
from taskengine.domain.times import format_utc
from taskengine.ports import CallbackSender, CallbackStore, Clock, DueCallback

TEST_EVENT = "test"
_AT_ONCE = 1000  # replayed with one write


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a test delivery: `status` None where there was no answer."""

    delivered: bool
    status: int | None
    error: str | None
    seconds: float


class CallbackDesk:
    """The use cases. `judge` says why a client may not have a URL called, None where nothing is known against it."""

    def __init__(
        self,
        store: CallbackStore,
        sender: CallbackSender,
        clock: Clock,
        judge: Callable[[str, str], str | None],
        replayed: Callable[[], None],
    ) -> None:
        self._store, self._sender, self._clock = store, sender, clock
        self._judge, self._replayed = judge, replayed

    async def replay(self, *, since: int, client: str | None) -> int:
        """Make every callback due again that was given up and whose event is not older; how many. The first are on
        their way while the others are still being read."""
        count, last = 0, 0
        while True:
            ids = await self._store.replay_callbacks(
                self._clock.now(), since=since, client=client, after_id=last, limit=_AT_ONCE
            )
            if ids:
                count, last = count + len(ids), ids[-1]
                self._replayed()
            if len(ids) < _AT_ONCE:
                return count

    async def test(self, client: str, url: str) -> Tried:
        """Send one signed delivery that is about nothing, now, once. InvalidRequest where the URL may not be called."""
        if (reason := self._judge(client, url)) is not None:
            raise InvalidRequest(f"/url: {reason}", [Fault("/url", reason)])
        began = self._clock.now()
        result = await self._sender.send(_test_delivery(client, url, began))
        return Tried(result.delivered, result.status, result.error, (self._clock.now() - began) / 1000)


def _test_delivery(client: str, url: str, now: int) -> DueCallback:
    body = {"event": TEST_EVENT, "message": "a test delivery", "time": format_utc(now), "client": client}
    return DueCallback(
        id=0, job_id=0, client=client, endpoint=url, event=TEST_EVENT, webhook_id=f"msg_{uuid.uuid4().hex}",
        body=json.dumps(body, separators=(",", ":")), created_at=now, attempts=0, failures=0, oldest_at=now,
    )  # fmt: skip
