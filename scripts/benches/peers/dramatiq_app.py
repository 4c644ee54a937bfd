"""dramatiq: RabbitMQ as broker, Redis for results, `pipeline`."""

from __future__ import annotations

import os
import time

import dramatiq
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from scripts.benches.peers.client import STEPS, run

REDIS = os.environ["PEER_REDIS"]
QUEUE = os.environ["PEER_QUEUE"]

broker = RabbitmqBroker(url=os.environ["PEER_BROKER"])
broker.add_middleware(Results(backend=RedisBackend(url=REDIS), store_results=True))
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE)
def noop(times: list[float]) -> list[float]:
    """Nothing, and when."""
    return [*times, time.time()]


def main() -> None:
    """The client."""
    results = redis.Redis.from_url(REDIS)
    results.flushdb()
    chains = []

    def submit() -> None:
        steps = [noop.message([]), *(noop.message() for _ in range(STEPS - 1))]
        chains.append(dramatiq.pipeline(steps).run())

    def times() -> list[list[float]]:
        return [each.get_result() for each in chains]

    run(submit, lambda: int(results.dbsize()), times)


if __name__ == "__main__":
    main()
