"""The one guarded way out for URLs that clients give: callbacks, semaphores, sources, segments, playlists, keys."""

from taskengine.domain.addresses import IPNetwork, judge_address, networks
from taskengine.net.client import Answer, GuardedClient, OutboundFault, OutboundRefused, Timeouts
from taskengine.net.fetching import Fetcher, Patience
from taskengine.net.judging import judge_url
from taskengine.net.pools import GuardedClients

__all__ = [
    "Answer",
    "Fetcher",
    "GuardedClient",
    "GuardedClients",
    "IPNetwork",
    "OutboundFault",
    "OutboundRefused",
    "Patience",
    "Timeouts",
    "judge_address",
    "judge_url",
    "networks",
]
