"""Asks semaphores over HTTP."""

from __future__ import annotations

from taskengine.callbacks.config import ClientCallbackConfig
from taskengine.domain.errors import StoreUnavailable
from taskengine.net import GuardedClients, OutboundFault, OutboundRefused, Timeouts

OPEN = range(200, 400)
TIMEOUTS = Timeouts(total_s=10.0)


class HttpSemaphoreProbe:
    """The `SemaphoreProbe` port over the guarded client: 2xx or 3xx to a GET opens; redirects are not followed."""

    def __init__(
        self,
        clients: GuardedClients,
        config: ClientCallbackConfig,
        *,
        user_agent: str = "task-engine",
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self._clients = clients
        self._config = config
        self._user_agent = user_agent
        self._timeouts = timeouts

    async def open(self, url: str, client: str) -> tuple[bool, str]:
        """(whether it answered 2xx or 3xx, what it answered); a fault is an answer that does not open."""
        try:
            config = await self._config(client, url)
            guarded = await self._clients.client(config.allow)
            answer = await guarded.request(
                "GET",
                url,
                headers={"user-agent": self._user_agent},
                timeouts=self._timeouts,
                max_bytes=0,
                verify_tls=config.verify_tls,
            )
        except (OutboundRefused, OutboundFault, StoreUnavailable) as error:
            return False, str(error)
        return answer.status in OPEN, f"answered {answer.status}"
