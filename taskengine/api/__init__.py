"""The REST API: a route table, thin handlers, and the rules that all calls share."""

from taskengine.api.server import ApiRunner, create_app
from taskengine.api.services import HttpLimits, Schedule, Services

__all__ = ["ApiRunner", "HttpLimits", "Schedule", "Services", "create_app"]
