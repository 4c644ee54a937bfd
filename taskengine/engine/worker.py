"""Worker pools: slots per queue, each running one attempt at a time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import traceback
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from taskengine.domain.errors import (
    BrokerUnavailable,
    ErrorKind,
    InternalFault,
    MessageError,
    NotFound,
    ResourceFault,
    SecretUnavailable,
    StorageError,
    TaskFailed,
    TimeoutFault,
)
from taskengine.domain.messages import (
    MAX_OUTPUT_BYTES,
    MAX_TEXT,
    ControlAction,
    ControlMessage,
    ReportEvent,
    TaskMessage,
    WorkerInfo,
    encode,
)
from taskengine.domain.tracing import Untraced
from taskengine.engine.context import Facilities, open_context
from taskengine.engine.reporter import Reporter
from taskengine.engine.supervisor import supervise
from taskengine.engine.vault import Opened, Vault
from taskengine.ports import Address, Broker, Clock, Consumer, Delivery, Handler, Tracer

log = structlog.get_logger(__name__)

_QUICK_S = 0.02  # a task that ends within it is told in one report
_EARLY_ACK_S = 60.0  # long before a broker gives up on an unacknowledged delivery
_PAUSE_S = 3.0  # for the broker's word, at a drain, that it delivers nothing more
_LAST_WORDS_S = 5.0  # for the last reports of a worker that drains while the broker is away
_REMEMBERED = 10_000  # tokens that were withdrawn before they were met

Outcome = tuple[ReportEvent, dict[str, Any]]


class _Attempt:
    """One attempt in a slot."""

    def __init__(self, task: TaskMessage, opened: Opened) -> None:
        self.task, self.opened = task, opened
        self.work: asyncio.Task[Outcome] | None = None
        self.withdrawn = False  # cancelled or fenced: nothing more is reported of it
        self.process_s = 0.0
        self._ended = False

    def end(self, *, withdrawn: bool) -> None:
        """Cancel it, once: what cleans up after it must not be cancelled by the second word of the same."""
        self.withdrawn = self.withdrawn or withdrawn
        if self.work is not None and not self._ended:
            self._ended = True
            self.work.cancel()


@dataclass(eq=False)
class _Slot:
    """A taken slot; `detached`: its delivery does not count in the present consumer's hands (it was acknowledged early,
    or came by a consumer that is gone)."""

    detached: bool = False


class _Pool:
    """The slots of one queue. The consumer is let hold as many deliveries as slots are left beside the detached ones, so
    that nothing waits behind a long task."""

    def __init__(self, queue: str, slots: int) -> None:
        self.queue = queue
        self.slots = slots
        self._consumer: Consumer | None = None
        self._taken: set[_Slot] = set()
        self._freed = asyncio.Event()
        self.closed = asyncio.Event()  # nothing more is taken

    async def idle(self) -> None:
        """Wait until no slot is taken."""
        while self._taken:
            self._freed.clear()
            await self._freed.wait()

    async def free(self) -> int:
        """Wait until a slot is free; how many are."""
        while self.left <= 0:
            self._freed.clear()
            await self._freed.wait()
        return self.left

    @property
    def left(self) -> int:
        """Slots for a new consumer: what earlier ones brought still runs."""
        return self.slots - len(self._taken)

    async def opened(self, consumer: Consumer) -> None:
        """A new consumer: what runs came by earlier ones."""
        self._consumer = consumer
        for slot in self._taken:
            slot.detached = True
        await self._adjust()  # a slot may have become free while it was opened

    def take(self) -> _Slot:
        """Take a free slot."""
        slot = _Slot()
        self._taken.add(slot)
        return slot

    async def detach(self, slot: _Slot) -> None:
        """Before an early acknowledgement: have the consumer hold one delivery less."""
        if not slot.detached:
            slot.detached = True
            await self._adjust()

    async def give_back(self, slot: _Slot) -> None:
        """The slot is free again, and the consumer may hold one more."""
        self.freed(slot)
        if slot.detached:
            await self._adjust()

    def freed(self, slot: _Slot) -> None:
        """The slot is free again."""
        self._taken.discard(slot)
        self._freed.set()

    async def _adjust(self) -> None:
        if self._consumer is None:
            return
        with contextlib.suppress(BrokerUnavailable):  # the next consumer is opened with what is free then
            await self._consumer.set_prefetch(self.slots - sum(slot.detached for slot in self._taken))


class Worker:
    """The pools of one process. It knows the broker, the handlers and this machine's facilities; never the database."""

    def __init__(
        self,
        info: WorkerInfo,
        broker: Broker,
        handlers: Mapping[str, Handler],
        facilities: Facilities,
        clock: Clock,
        vault: Vault,
        *,
        heartbeat_s: float,
        drain_grace_s: float,
        early_ack_s: float = _EARLY_ACK_S,
        tracer: Tracer | None = None,
    ) -> None:
        self.info = info
        self._broker, self._handlers, self._facilities, self._clock = broker, handlers, facilities, clock
        self._vault = vault
        self._grace_s, self._early_ack_s = drain_grace_s, early_ack_s
        self._tracer = tracer or Untraced()
        self._reporter = Reporter(info, broker, clock, heartbeat_s)
        self._attempts: dict[str, _Attempt] = {}
        self._withdrawn: OrderedDict[str, None] = OrderedDict()
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Take nothing new; `run` returns once what runs has ended or, after the grace period, was handed back."""
        self._draining.set()

    async def run(self) -> int:
        """Work until drained; how many reports no broker took in the end. Their tasks run elsewhere, once their lease is
        over."""
        async with asyncio.TaskGroup() as background:
            services = [
                background.create_task(self._reporter.run()),
                background.create_task(supervise("control", self._control, self._clock)),
            ]
            async with asyncio.TaskGroup() as attempts:
                pools = [_Pool(queue, slots) for queue, slots in self.info.queues.items()]
                loops = [attempts.create_task(self._supervised(pool, attempts)) for pool in pools]
                await self._draining.wait()
                for loop in loops:
                    loop.cancel()
                for pool in pools:
                    await pool.closed.wait()
                await self._let_run_out()
                self._reporter.finish(_LAST_WORDS_S)
            for service in services:
                service.cancel()
        return self._reporter.unreported

    async def _let_run_out(self) -> None:
        """Give what runs the grace period, then hand it back."""
        works = {attempt.work: attempt for attempt in self._attempts.values() if attempt.work is not None}
        if works:
            _, late = await asyncio.wait(works, timeout=self._grace_s)
            for work in late:
                works[work].end(withdrawn=False)

    # --------------------------------------------------------------------------------------------------------- control

    async def _control(self) -> None:
        keys = [f"worker.{self.info.id}", "all"]
        async with self._broker.subscribe(Address.CONTROL, keys) as consumer:
            while deliveries := await consumer.batch(100):
                for delivery in deliveries:
                    try:
                        self._obey(ControlMessage.from_json(delivery.message.body))
                    except MessageError as error:  # every worker has its own copy: no dead letter is made of each
                        log.warning("control_message_rejected", error=str(error))
                    await delivery.ack()
        raise BrokerUnavailable("the consumer of control was closed")

    def _obey(self, message: ControlMessage) -> None:
        if message.action is ControlAction.DRAIN:
            self.drain()
        elif message.token is not None:
            attempt = self._attempts.get(message.token)
            if attempt is not None:
                log.info("attempt_withdrawn", task_id=attempt.task.task_id, action=message.action.value)
                attempt.end(withdrawn=True)
                self._reporter.beat()  # it still names it: who called it off hears that it is being ended
            elif message.action is ControlAction.CANCEL:
                self._withdrawn[message.token] = None
                if len(self._withdrawn) > _REMEMBERED:
                    self._withdrawn.popitem(last=False)

    # ------------------------------------------------------------------------------------------------------------ pool

    async def _supervised(self, pool: _Pool, attempts: asyncio.TaskGroup) -> None:
        try:
            await supervise(f"pool {pool.queue}", lambda: self._consume(pool, attempts), self._clock)
        finally:
            pool.closed.set()

    async def _consume(self, pool: _Pool, attempts: asyncio.TaskGroup) -> None:
        """One delivery per free slot. Attempts outlive the consumer: a broker that comes and goes stops none."""
        await pool.free()
        async with self._broker.consume(Address.TASKS, pool.queue, prefetch=pool.left) as consumer:
            await pool.opened(consumer)
            try:
                while True:
                    deliveries = await consumer.batch(await pool.free())
                    if not deliveries:
                        raise BrokerUnavailable(f"the consumer of {pool.queue} was closed")
                    for delivery in deliveries:
                        self._begin(delivery, pool, attempts)
            except asyncio.CancelledError:  # drained: what runs is settled by this consumer, else it would come again
                with contextlib.suppress(BrokerUnavailable, TimeoutError):
                    async with asyncio.timeout(_PAUSE_S):
                        await consumer.pause()
                pool.closed.set()
                await pool.idle()
                raise

    def _begin(self, delivery: Delivery, pool: _Pool, attempts: asyncio.TaskGroup) -> None:
        slot = pool.take()
        running = attempts.create_task(self._deliver(delivery, pool, slot))
        running.add_done_callback(lambda _: pool.freed(slot))  # also where it was cancelled before its first step

    async def _deliver(self, delivery: Delivery, pool: _Pool, slot: _Slot) -> None:
        try:
            task = TaskMessage.from_json(delivery.message.body)
            if task.token in self._withdrawn:
                await delivery.ack()
            elif delivery.redelivered or task.token in self._attempts:
                await self._reporter.tell(task, ReportEvent.RELEASED, {"reason": "redelivered"})
                await delivery.ack()
            else:
                await self._attempt(
                    _Attempt(task, self._vault.attempt(task.client)), delivery, lambda: pool.detach(slot)
                )
        except MessageError as error:
            log.warning("task_message_rejected", queue=pool.queue, error=str(error))
            await delivery.reject(str(error))
        except BrokerUnavailable as error:  # what is not settled is delivered again, marked so, and not run
            log.warning("delivery_not_settled", queue=pool.queue, error=str(error))
        finally:
            await pool.give_back(slot)

    # --------------------------------------------------------------------------------------------------------- attempt

    async def _attempt(self, attempt: _Attempt, delivery: Delivery, detach: Callable[[], Awaitable[None]]) -> None:
        """Run it, tell its beginning (where it is not over at once) and its end, settle the delivery."""
        task = attempt.task
        self._attempts[task.token] = attempt
        self._reporter.begin(task)
        try:
            async with asyncio.TaskGroup() as group:
                attempt.work = group.create_task(self._execute(attempt))
                await self._accompany(attempt, attempt.work, delivery, detach)
            outcome = _outcome(attempt, attempt.work)
        except ExceptionGroup as group:
            given_up, others = group.split(BrokerUnavailable)
            if given_up is None or others is not None:
                raise
            raise BrokerUnavailable(str(given_up.exceptions[0])) from group
        finally:
            self._reporter.end(task)
            del self._attempts[task.token]
        if outcome is None:
            self._reporter.beat()  # who called it off waits to hear that it is over
        else:
            await self._reporter.tell(task, *outcome)
        await delivery.ack()

    async def _accompany(
        self,
        attempt: _Attempt,
        work: asyncio.Task[Outcome],
        delivery: Delivery,
        detach: Callable[[], Awaitable[None]],
    ) -> None:
        await asyncio.sleep(0)  # many a task is over at its first step: it needs no timer
        if work.done() or (await asyncio.wait({work}, timeout=_QUICK_S))[0]:
            return
        await self._reporter.tell(attempt.task, ReportEvent.STARTED)
        done, _ = await asyncio.wait({work}, timeout=self._early_ack_s)
        if not done:
            await detach()
            await delivery.ack()

    async def _execute(self, attempt: _Attempt) -> Outcome:
        """Run the handler; whatever it raises becomes a report, but for the cancellation that was asked for."""
        try:
            outputs = _checked(await self._handle(attempt))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            current = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and current is not None and current.cancelling():
                raise
            return ReportEvent.FAILED, self._failure(attempt, error)
        return ReportEvent.COMPLETED, {"outputs": outputs, "process_s": round(attempt.process_s, 3)}

    def _failure(self, attempt: _Attempt, error: BaseException) -> dict[str, Any]:
        fault, scrub = _fault(error), attempt.opened.scrub
        if type(fault) is InternalFault and not isinstance(error, TaskFailed):
            task = attempt.task
            trace = scrub("".join(traceback.format_exception(error)))
            log.error("handler_failed", handler=task.handler, task_id=task.task_id, exception=trace)
        code = fault.exit_code
        details: dict[str, Any] = {
            "kind": fault.kind.value,
            "message": scrub(str(fault))[:MAX_TEXT],
            "exit_code": code if isinstance(code, int) else None,
            "stderr_tail": scrub(str(fault.stderr_tail))[-MAX_TEXT:],
        }
        return {"error": details, "process_s": round(attempt.process_s, 3)}

    async def _handle(self, attempt: _Attempt) -> Mapping[str, Any]:
        task = attempt.task
        handler = self._handlers.get(task.handler)
        if handler is None:
            raise ResourceFault(f"the worker {self.info.name} has no handler {task.handler!r}")
        with self._tracer.span(f"task {task.handler}", "consumer", task.traceparent, _traced(task)):
            return await self._called(handler, attempt)

    async def _called(self, handler: Handler, attempt: _Attempt) -> Mapping[str, Any]:
        task = attempt.task
        async with open_context(task, attempt.opened, self._facilities, self._reporter, self._clock) as context:
            limit = asyncio.timeout(task.timeout_s)
            try:
                async with limit:
                    await context.take_inputs()
                    return attempt.opened.outputs(_mapping(await handler(context)), handler.outputs)
            except Exception as error:
                if limit.expired():  # also where the end of it went wrong
                    raise TimeoutFault(f"the task did not end within its {task.timeout_s:g} s") from error
                raise
            finally:
                attempt.process_s = context.process_s


def _traced(task: TaskMessage) -> Mapping[str, str | int]:
    """What a trace says of an attempt."""
    return {
        "taskengine.job_id": task.job_id,
        "taskengine.task_id": task.task_id,
        "taskengine.task_name": task.task_name,
        "taskengine.attempt": task.attempt,
        "taskengine.queue": task.queue,
        "taskengine.workflow": task.workflow,
        "taskengine.client": task.client,
    }


def _outcome(attempt: _Attempt, work: asyncio.Task[Outcome]) -> Outcome | None:
    """What is to be reported of an attempt's end; None where it was withdrawn. One that completed all the same could not
    be called off any more: its engine decides whether that counts."""
    completed = not work.cancelled() and work.result()[0] is ReportEvent.COMPLETED
    if attempt.withdrawn and not completed:
        return None
    if work.cancelled():
        return ReportEvent.RELEASED, {"reason": "drain"}
    return work.result()


def _mapping(outputs: Any) -> Mapping[str, Any]:
    if not isinstance(outputs, Mapping):
        raise InternalFault(f"the outputs are no object but {type(outputs).__name__}")
    return outputs


def _checked(outputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a handler returned, where it can be told; InternalFault where it cannot."""
    try:
        size = len(encode(outputs))
    except (TypeError, ValueError, RecursionError) as error:
        raise InternalFault(f"the outputs are no JSON: {error}") from error
    if size > MAX_OUTPUT_BYTES:
        raise InternalFault(f"the outputs are {size} bytes of JSON; at most {MAX_OUTPUT_BYTES} are allowed")
    return dict(outputs)


def _fault(error: BaseException) -> TaskFailed:
    """An error of a handler as a fault with its kind."""
    if isinstance(error, TaskFailed):
        return error
    text = str(error) or type(error).__name__
    if isinstance(error, NotFound):
        return _kind(ErrorKind.INPUT, text)
    if isinstance(error, StorageError):
        return _kind(ErrorKind.RESOURCE if error.retryable else ErrorKind.INPUT, text)
    if isinstance(error, SecretUnavailable):
        return _kind(ErrorKind.RESOURCE, f"this worker cannot open the inputs: {text}")
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENOMEM}:
        return _kind(ErrorKind.RESOURCE, text)
    return InternalFault(f"{type(error).__name__}: {text}")


def _kind(kind: ErrorKind, text: str) -> TaskFailed:
    fault = TaskFailed(text)
    fault.kind = kind
    return fault
