"""The oracle: whether a run kept the promises, judged after it by SQL and by what the endpoints received.

    facts = await gather(database_url, accepted=ids, received=receiver.received)
    violations = judge(facts, max_jobs=4)  # [] where every promise was kept
    violations += left_behind(…)

It knows tables and bodies, and none of the engine's code: a fault of the engine must not be the oracle's too.
"""

from __future__ import annotations

from tests.support.oracle.facts import Facts, gather
from tests.support.oracle.judging import judge
from tests.support.oracle.remains import connections, left_behind, processes_of

__all__ = ["Facts", "connections", "gather", "judge", "left_behind", "processes_of"]
