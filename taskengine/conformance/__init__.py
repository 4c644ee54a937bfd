"""Whether a worker keeps the messaging contract: the engine's part is played on a real broker, and what comes is judged."""

from taskengine.conformance.checks import Plan, judge_worker
from taskengine.conformance.findings import Finding, State

__all__ = ["Finding", "Plan", "State", "judge_worker"]
