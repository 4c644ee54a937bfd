"""An asynchronous client of a running engine's REST API, as the command line uses it.

async with connect("http://127.0.0.1:8080", client="demo", api_key=key) as engine:
    made = await engine.submit({"job": {"workflow": "vodstream"}, "parameters": {…}})
    async for happening in engine.events(made["id"]):
        print(happening.kind, happening.data)
"""

from taskengine.client.calls import Client, connect
from taskengine.client.events import Happening
from taskengine.client.transport import TooManyRequests, UnexpectedAnswer

__all__ = ["Client", "Happening", "TooManyRequests", "UnexpectedAnswer", "connect"]
