"""Jobs that other systems submit by message: each is answered as `POST /job` would answer it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum, auto
from typing import Any
from uuid import uuid4

import orjson
import structlog

from taskengine.api.admission import Credentials
from taskengine.api.answers import Answer, to_json
from taskengine.api.body import parse_object
from taskengine.api.faults import error_body, invalid
from taskengine.api.services import Services
from taskengine.api.submission import JOB_NOT_MADE, Origin, answer
from taskengine.domain.errors import BrokerUnavailable, Fault, InvalidRequest, MessageError, StoreUnavailable
from taskengine.domain.masking import mask
from taskengine.domain.messages import VERSION, check_version
from taskengine.ports import Address, Delivery, Message, Outgoing

log = structlog.get_logger(__name__)

AT_ONCE = 32  # deliveries that are worked at
HELD = 256  # deliveries in hand: with those whose clients call more often than they may
ORIGIN = "amqp:jobs"  # the `path` of such a submission in its job's log
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_HOLD_S = 900.0  # then they are given back: brokers close consumers that hold a delivery for 30 minutes
_TRIES = 3  # at a submission that fails for a reason of ours that we do not know
_MAX_LETTER = 64 * 1024  # bytes of a message that is too large, kept in its dead letter


class _Came(Enum):
    """What came of a try at a submission."""

    TO_AN_END = auto()
    WAITS = auto()  # for the store, or the broker
    TOO_OFTEN = auto()  # its client calls more often than it may


class Intake:
    """The consumer of submissions. One is acknowledged once its job is durable and its answer is confirmed; what came
    twice is known by its `message_id`. Without one it is made once, and refused where it is delivered again."""

    def __init__(self, services: Services, users: Mapping[str, str]) -> None:
        self._services, self._users = services, users
        self._aside: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        """Consume for ever. What was not acknowledged when this raises is delivered again."""
        try:
            async with self._services.broker.consume(Address.JOBS, prefetch=HELD) as consumer:
                while deliveries := await consumer.batch(AT_ONCE):
                    await self.take(deliveries)
        finally:
            for waiting in self._aside:
                waiting.cancel()
        raise BrokerUnavailable("the consumer of submissions was closed")

    async def take(self, deliveries: Sequence[Delivery]) -> None:
        """Settle each; while the store or the broker is away, hold them and try again. Those of a client that calls more
        often than it may are set aside: they keep nobody else waiting."""
        clock, tried, pause = self._services.clock, 0, _FIRST_PAUSE_S
        waiting = [(one, _key(one)) for one in deliveries if await self._readable(one)]
        until = clock.now() + round(_HOLD_S * 1000)
        while True:
            tried += 1
            came = await asyncio.gather(*(self._settled(one, key, tried) for one, key in waiting))
            for (one, key), what in zip(waiting, came, strict=True):
                if what is _Came.TOO_OFTEN:
                    self._set_aside(one, key)
            waiting = [one for one, what in zip(waiting, came, strict=True) if what is _Came.WAITS]
            if not waiting:
                return
            if clock.now() >= until:
                raise StoreUnavailable(f"{len(waiting)} submissions were held for {_HOLD_S:g} s: they are given back")
            log.warning("submissions_wait", messages=len(waiting), pause_s=pause)
            await clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _set_aside(self, delivery: Delivery, key: str | None) -> None:
        waiting = asyncio.ensure_future(self._allowed(delivery, key))
        self._aside.add(waiting)
        waiting.add_done_callback(self._aside.discard)

    async def _allowed(self, delivery: Delivery, key: str | None) -> None:
        """Try again until its client may call; give it back before the broker closes the consumer over it."""
        clock, tried, pause = self._services.clock, 1, _FIRST_PAUSE_S
        until = clock.now() + round(_HOLD_S * 1000)
        while clock.now() < until:
            await clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
            came = await self._settled(delivery, key, tried)
            if came is _Came.TO_AN_END:
                return
            tried += came is _Came.WAITS
        await delivery.requeue()

    async def _readable(self, delivery: Delivery) -> bool:
        """Whether its properties can be read; else nothing tells whose it is nor where an answer would go."""
        try:
            _ = delivery.message
        except MessageError as error:
            log.warning("submission_rejected", reason=str(error))
            await delivery.reject(str(error), _letter(Message(delivery.body), self._services.limits.body_bytes))
            return False
        return True

    async def _settled(self, delivery: Delivery, key: str | None, tried: int) -> _Came:
        """What came of a try at it."""
        try:
            return await self._handled(delivery, key, tried)
        except BrokerUnavailable as error:
            log.warning("submission_answer_waits", error=str(error))
            return _Came.WAITS
        except Exception:  # one message must not stop those behind it
            log.exception("submission_failed", message_id=delivery.message.message_id)
            if tried < _TRIES:
                return _Came.WAITS
            await delivery.reject(JOB_NOT_MADE, replace(delivery.message, body=b"", headers={}))
            return _Came.TO_AN_END

    async def _handled(self, delivery: Delivery, key: str | None, tried: int) -> _Came:
        message = delivery.message
        try:
            fields = self._fields(message)
        except (InvalidRequest, MessageError) as error:
            await self._bury(delivery, Answer(error_body(error, 400), 400))
            return _Came.TO_AN_END
        given = await self._submitted(message, key, fields)
        if given.status == 429:
            return _Came.TOO_OFTEN
        if given.status == 503 or (given.status == 500 and tried < _TRIES):
            return _Came.WAITS
        if given.status == 500 or (given.status != 200 and not message.reply_to):
            await self._bury(delivery, given)
        else:
            await self._reply(message, given)
            await delivery.ack()
        return _Came.TO_AN_END

    def _fields(self, message: Message) -> dict[str, Any]:
        """The submission in a message; InvalidRequest or MessageError where there is none. `v` may be left out: the
        queue's name has it too."""
        limits = self._services.limits
        if len(message.body) > limits.body_bytes:
            raise InvalidRequest(f"The body is larger than {limits.body_bytes} bytes")
        fields = parse_object(message.body, limits)
        check_version(fields.pop("v", VERSION))
        return fields

    async def _submitted(self, message: Message, key: str | None, fields: Mapping[str, Any]) -> Answer:
        if key is None:
            error = invalid(
                Fault("message_id", "is missing: whether this message was a job when it came first, it alone tells")
            )
            return Answer(error_body(error, 400), 400)
        headers = {str(name).lower(): _text(value) for name, value in message.headers.items()}
        who: Credentials | str = Credentials.of(headers)
        user = self._users.get(message.user_id or "")
        if user is not None and isinstance(who, Credentials) and who.key is None and who.client in {None, user}:
            who = user
        origin = Origin(ORIGIN, message.user_id or "", headers)
        return await answer(self._services, who, fields, key, origin)

    async def _reply(self, message: Message, given: Answer) -> None:
        """Answer, where that is asked for. A queue that is gone is not our concern, one with an impossible name neither."""
        if not message.reply_to:
            return
        body = to_json({**given.body, "status": given.status})
        said = Message(body, correlation_id=message.correlation_id or message.message_id)
        try:
            await self._services.broker.publish([Outgoing(Address.REPLY, said, message.reply_to)])
        except ValueError as error:
            log.warning("submission_answer_dropped", error=str(error))

    async def _bury(self, delivery: Delivery, given: Answer) -> None:
        """To the dead letters, without its secrets; and the answer, all the same."""
        message, reason = delivery.message, str(given.body["error"])
        log.warning("submission_rejected", message_id=message.message_id, status=given.status, reason=reason)
        await self._reply(message, given)
        await delivery.reject(reason, _letter(message, self._services.limits.body_bytes))


def _key(delivery: Delivery) -> str | None:
    """The idempotency key: that of the message, else one for the tries at this delivery; None where another engine may have
    tried before."""
    if delivery.message.message_id:
        return delivery.message.message_id
    return None if delivery.redelivered else f"delivery-{uuid4().hex}"


def _letter(message: Message, longest: int) -> Message:
    """The message as it may lie about: secrets masked by their names; of one that is too large, the beginning."""
    body = message.body
    if len(body) > longest:
        body = body[:_MAX_LETTER]
    else:
        with suppress(ValueError, TypeError, RecursionError):  # no JSON, or none of ours: it is kept as it came
            body = orjson.dumps(mask(orjson.loads(body)))
    return replace(message, body=body, headers=mask(message.headers))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
