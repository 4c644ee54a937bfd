"""Celery: RabbitMQ as broker, PostgreSQL as result backend, `chain`."""

from __future__ import annotations

import os
import time

from celery import Celery, chain
from sqlalchemy import create_engine, text

from scripts.benches.peers.client import STEPS, run

DATABASE = os.environ["PEER_DATABASE"].replace("postgresql://", "postgresql+psycopg2://")

app = Celery("bench", broker=os.environ["PEER_BROKER"], backend=f"db+{DATABASE}")
app.conf.update(task_default_queue=os.environ["PEER_QUEUE"], worker_prefetch_multiplier=50)  # by 2 processes: 100


@app.task(name="noop")
def noop(times: list[float]) -> list[float]:
    """Nothing, and when."""
    return [*times, time.time()]


def main() -> None:
    """The client."""
    database = create_engine(DATABASE, isolation_level="AUTOCOMMIT")
    app.backend.ResultSession()  # the library makes its tables here
    ends = []

    def submit() -> None:
        steps = [noop.s([]), *(noop.s() for _ in range(STEPS - 1))]
        ends.append(chain(*steps).apply_async())

    def stored() -> int:
        with database.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM celery_taskmeta")).scalar() or 0)

    run(submit, stored, lambda: [end.result for end in ends])


if __name__ == "__main__":
    main()
