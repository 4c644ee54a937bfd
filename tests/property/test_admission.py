"""The order in which jobs are started, through a real store, beside a plain model of the rules."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from taskengine.domain.admission import Budget, InSlot, Queued, choose, in_order
from tests.support.admission import CLIENTS, Case, beside_the_model, many

_MANY = 2_000

BUDGETS = st.integers(1, 12).flatmap(
    lambda most: st.builds(Budget, st.just(most), st.integers(0, most - 1), st.integers(1, 10))
)
CASES = st.builds(
    Case,
    jobs=st.lists(st.tuples(st.sampled_from(CLIENTS), st.integers(1, 10), st.booleans()), min_size=1, max_size=60),
    overall=BUDGETS,
    budgets=st.dictionaries(st.sampled_from(CLIENTS), BUDGETS, max_size=4),
    weights=st.dictionaries(st.sampled_from(CLIENTS), st.sampled_from([0.5, 2.0, 3.0]), max_size=4),
    seed=st.integers(0, 1000),
)


@settings(max_examples=25)
@given(CASES)
def test_jobs_start_in_the_order_of_the_rules(case: Case) -> None:
    """Whatever the priorities, budgets and weights, and in whatever order jobs end."""
    asyncio.run(beside_the_model(case))


def test_many_jobs_of_ten_clients_start_in_the_order_of_the_rules() -> None:
    """More than admission is shown at a time. `scripts/soak admission` has 10,000."""
    asyncio.run(beside_the_model(many(_MANY, 4)))


QUEUES = st.lists(st.tuples(st.sampled_from(CLIENTS[:4]), st.integers(1, 3), st.booleans()), max_size=40)


@given(
    rows=QUEUES,
    running=st.lists(st.sampled_from(CLIENTS[:4]), max_size=8),
    weights=st.dictionaries(st.sampled_from(CLIENTS[:4]), st.sampled_from([0.5, 2.0, 3.0])),
    heads=st.integers(1, 12),
)
def test_the_order_of_the_queue_is_that_of_admission(
    rows: list[tuple[str, int, bool]], running: list[str], weights: dict[str, float], heads: int
) -> None:
    """As if there were a slot for each; of a part of each client's queue, as far as that tells."""
    queued = sorted(
        (Queued(number, *row) for number, row in enumerate(rows, 1)),
        key=lambda job: (job.client, not job.top_of_queue, job.priority, job.id),
    )
    started = [InSlot(client, 5) for client in running]
    whole = choose(started, queued, Budget(1000), {}, weights)
    assert in_order(started, queued, weights) == whole
    part = [job for job in queued if [one for one in queued if one.client == job.client].index(job) < heads]
    seen = in_order(started, part, weights, heads)
    assert whole[: len(seen)] == seen
    assert len(seen) >= min(heads, len(whole))
