"""The REST API: a route table, thin handlers, and the rules that all calls share; and submissions by message."""

from taskengine.api.channel_book import ChannelBook, ReadChannel
from taskengine.api.intake import Intake
from taskengine.api.schedules import submit_recurring
from taskengine.api.server import ApiRunner, create_app
from taskengine.api.services import HttpLimits, Schedule, Services

__all__ = [
    "ApiRunner", "ChannelBook", "HttpLimits", "Intake", "ReadChannel", "Schedule", "Services", "create_app",
    "submit_recurring",
]  # fmt: skip
