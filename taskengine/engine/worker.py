"""Worker pools: slots per queue, each running one attempt at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

import structlog

from taskengine.domain.errors import BrokerUnavailable, MessageError
from taskengine.domain.messages import ControlAction, ControlMessage, ReportEvent, TaskMessage, WorkerInfo
from taskengine.domain.tracing import Untraced
from taskengine.engine.attempt import Attempt, AttemptRunner, Outcome
from taskengine.engine.context import Facilities
from taskengine.engine.reporter import Reporter
from taskengine.engine.slots import Pool, Slot
from taskengine.engine.supervisor import supervise
from taskengine.engine.vault import Vault
from taskengine.ports import Address, Broker, Clock, Delivery, Handler, Tracer

log = structlog.get_logger(__name__)

_QUICK_S = 0.02  # a task that ends within it is told in one report
_EARLY_ACK_S = 60.0  # long before a broker gives up on an unacknowledged delivery
_PAUSE_S = 3.0  # for the broker's word, at a drain, that it delivers nothing more
_LAST_WORDS_S = 5.0  # for the last reports of a worker that drains while the broker is away
_REMEMBERED = 10_000  # tokens that were withdrawn before they were met


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
        self._broker, self._clock, self._vault = broker, clock, vault
        self._grace_s, self._early_ack_s = drain_grace_s, early_ack_s
        self._reporter = Reporter(info, broker, clock, heartbeat_s)
        self._runner = AttemptRunner(info.name, handlers, facilities, self._reporter, clock, tracer or Untraced())
        self._attempts: dict[str, Attempt] = {}
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
                pools = [Pool(queue, slots) for queue, slots in self.info.queues.items()]
                loops = [self._open(pool, attempts) for pool in pools]
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
                        self._obey(ControlMessage.from_json(delivery.body))
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

    def _open(self, pool: Pool, attempts: asyncio.TaskGroup) -> asyncio.Task[None]:
        loop = attempts.create_task(supervise(f"pool {pool.queue}", lambda: self._consume(pool, attempts), self._clock))
        loop.add_done_callback(lambda _: pool.closed.set())  # also where it was cancelled before its first step
        return loop

    async def _consume(self, pool: Pool, attempts: asyncio.TaskGroup) -> None:
        """One delivery per free slot. AttemptRunner outlive the consumer: a broker that comes and goes stops none."""
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

    def _begin(self, delivery: Delivery, pool: Pool, attempts: asyncio.TaskGroup) -> None:
        slot = pool.take()
        running = attempts.create_task(self._deliver(delivery, pool, slot))
        running.add_done_callback(lambda _: pool.freed(slot))  # also where it was cancelled before its first step

    async def _deliver(self, delivery: Delivery, pool: Pool, slot: Slot) -> None:
        try:
            task = TaskMessage.from_json(delivery.body)
            if task.token in self._withdrawn:
                await delivery.ack()
            elif delivery.redelivered or task.token in self._attempts:
                await self._reporter.tell(task, ReportEvent.RELEASED, {"reason": "redelivered"})
                await delivery.ack()
            else:
                await self._attempt(
                    Attempt(task, self._vault.attempt(task.client)), delivery, lambda: pool.detach(slot)
                )
        except MessageError as error:
            log.warning("task_message_rejected", queue=pool.queue, error=str(error))
            await delivery.reject(str(error))
        except BrokerUnavailable as error:  # what is not settled is delivered again, marked so, and not run
            log.warning("delivery_not_settled", queue=pool.queue, error=str(error))
        finally:
            await pool.give_back(slot)

    # --------------------------------------------------------------------------------------------------------- attempt

    async def _attempt(self, attempt: Attempt, delivery: Delivery, detach: Callable[[], Awaitable[None]]) -> None:
        """Run it, tell its beginning (where it is not over at once) and its end, settle the delivery."""
        task = attempt.task
        self._attempts[task.token] = attempt
        self._reporter.begin(task)
        try:
            async with asyncio.TaskGroup() as group:
                attempt.work = group.create_task(self._runner.run(attempt))
                await self._accompany(attempt, attempt.work, delivery, detach)
            outcome = attempt.outcome()
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
        attempt: Attempt,
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
