"""One attempt at a task: the handler in its context, within its time; whatever comes of it becomes a report."""

from __future__ import annotations

import asyncio
import errno
import traceback
from collections.abc import Mapping
from typing import Any

import structlog

from taskengine.domain.errors import (
    ErrorKind,
    InternalFault,
    NotFound,
    ResourceFault,
    SecretUnavailable,
    StorageError,
    TaskFailed,
    TimeoutFault,
)
from taskengine.domain.messages import MAX_OUTPUT_BYTES, MAX_TEXT, ReportEvent, TaskMessage, encode
from taskengine.engine.context import Facilities, open_context
from taskengine.engine.reporter import Reporter
from taskengine.engine.vault import Opened
from taskengine.ports import Clock, Handler, Tracer

log = structlog.get_logger(__name__)

Outcome = tuple[ReportEvent, dict[str, Any]]


class Attempt:
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

    def outcome(self) -> Outcome | None:
        """What is to be reported of its end; None where it was withdrawn. One that completed all the same could not be
        called off any more: its engine decides whether that counts."""
        work = self.work
        assert work is not None  # noqa: S101 - for the type checker: it has begun
        completed = not work.cancelled() and work.result()[0] is ReportEvent.COMPLETED
        if self.withdrawn and not completed:
            return None
        if work.cancelled():
            return ReportEvent.RELEASED, {"reason": "drain"}
        return work.result()


class AttemptRunner:
    """Runs attempts with what this worker has for them."""

    def __init__(
        self,
        worker: str,
        handlers: Mapping[str, Handler],
        facilities: Facilities,
        reporter: Reporter,
        clock: Clock,
        tracer: Tracer,
    ) -> None:
        """`worker`: its name."""
        self._worker, self._handlers, self._facilities = worker, handlers, facilities
        self._reporter, self._clock, self._tracer = reporter, clock, tracer

    async def run(self, attempt: Attempt) -> Outcome:
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

    def _failure(self, attempt: Attempt, error: BaseException) -> dict[str, Any]:
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

    async def _handle(self, attempt: Attempt) -> Mapping[str, Any]:
        task = attempt.task
        handler = self._handlers.get(task.handler)
        if handler is None:
            raise ResourceFault(f"the worker {self._worker} has no handler {task.handler!r}")
        with self._tracer.span(f"task {task.handler}", "consumer", task.traceparent, _traced(task)):
            return await self._called(handler, attempt)

    async def _called(self, handler: Handler, attempt: Attempt) -> Mapping[str, Any]:
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
