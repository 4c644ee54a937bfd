"""Whether an attempt that was called off is over: its worker names it no more, and what it told last is decided on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from taskengine.domain.messages import ReportEvent, WorkerMessage
from taskengine.engine.signals import Signal

_ENDS = frozenset({ReportEvent.COMPLETED, ReportEvent.FAILED, ReportEvent.RELEASED})


@dataclass(slots=True, eq=False)
class Expected:
    """Attempts that somebody waits for; `over` is set with the last of them."""

    workers: dict[str, str]  # token → worker; "" where it is not known who has it
    over: Signal = field(default_factory=Signal)
    undecided: set[str] = field(default_factory=set)  # tokens whose last word has come and is not decided on
    heard: bool = False  # whether one of their workers has said anything since it was last set back

    def drop_unknown(self) -> None:
        """Wait no more for those that nobody has said anything of."""
        self.workers = {token: worker for token, worker in self.workers.items() if worker}


class Farewells:
    """Hears what workers say of attempts that were called off."""

    def __init__(self) -> None:
        self._expected: list[Expected] = []

    def expect(self, workers: Mapping[str, str]) -> Expected:
        """Wait for these: token → worker, or ""."""
        expected = Expected(dict(workers))
        self._expected.append(expected)
        return expected

    def forget(self, expected: Expected) -> None:
        """Nobody waits any more."""
        self._expected.remove(expected)

    def note(self, message: WorkerMessage) -> None:
        """A worker says what it is at. Where it tells an end too, that is to be decided on first."""
        if not self._expected:
            return
        named = {running.token for running in message.running}
        ended = {report.token for report in message.reports if report.event in _ENDS}
        for expected in self._expected:
            expected.workers |= dict.fromkeys(
                (token for token, worker in expected.workers.items() if not worker and token in named | ended),
                message.worker.id,
            )
            own = {token for token, worker in expected.workers.items() if worker == message.worker.id}
            expected.heard = expected.heard or bool(own)
            expected.undecided |= own & ended
            self._take(expected, own - named - expected.undecided)

    def decided(self, tokens: Iterable[str]) -> None:
        """What these told last is durable."""
        if not self._expected:
            return
        told = set(tokens)
        for expected in self._expected:
            self._take(expected, expected.undecided & told)

    @staticmethod
    def _take(expected: Expected, tokens: Iterable[str]) -> None:
        for token in tokens:
            expected.workers.pop(token, None)
        if not expected.workers:
            expected.over.set()
