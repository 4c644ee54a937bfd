"""Limits and circuit breakers of endpoints."""

from __future__ import annotations

from itertools import count

from taskengine.engine.endpoints import Claim, Endpoints, Limits
from taskengine.ports import Busy, DueCallback

NOW = 1_800_000_000_000
LIMITS = Limits(concurrency=8, per_endpoint=2, breaker_failures=3, cool_down_s=5, cool_down_max_s=20)
IDS = count(1)


def _due(endpoint: str, until: int = NOW + 60_000) -> Claim:
    number = next(IDS)
    return Claim(DueCallback(number, number, "demo", endpoint, "start", f"msg_{number}", "{}", NOW, 0, 0, NOW), until)


def _fill(endpoints: Endpoints, *urls: str, now: int = NOW) -> list[str]:
    for url in urls:
        endpoints.hold(_due(url))
    return [claim.callback.endpoint for claim in endpoints.take(now)]


def _answer(endpoints: Endpoints, *urls: str) -> None:
    """Each is called once, and answers."""
    for url in urls:
        assert _fill(endpoints, url) == [url]
    for url in urls:
        endpoints.done(url, NOW, answered=True)


def test_an_endpoint_has_its_share_and_the_rest_is_held() -> None:
    """A full endpoint is busy; another is not touched by it; what ends makes room for what is held."""
    endpoints = Endpoints(LIMITS)
    _answer(endpoints, "http://a/", "http://b")
    assert sorted(_fill(endpoints, *["http://a/"] * 4, "http://b")) == ["http://a/"] * 2 + ["http://b"]
    assert endpoints.busy(NOW) == Busy(servers=("http://a/",))
    endpoints.done("http://a/", NOW, answered=True)
    assert [claim.callback.endpoint for claim in endpoints.take(NOW)] == ["http://a/"]
    assert endpoints.sending == 3
    assert len(endpoints.drop_held()) == 1
    assert endpoints.unwanted(NOW) == []


def test_an_endpoint_that_has_not_answered_yet_is_called_by_one() -> None:
    """It may be dead: it would hold its whole share until its time-outs. After the first answer it has all of it."""
    endpoints = Endpoints(LIMITS)
    assert _fill(endpoints, *["http://a/"] * 3) == ["http://a/"]
    endpoints.done("http://a/", NOW, answered=True)
    assert len(endpoints.take(NOW)) == 2


def test_a_server_that_has_not_answered_yet_is_called_by_a_few() -> None:
    """However many endpoints it has; after the first answer it has its quarter of all."""
    endpoints = Endpoints(Limits(concurrency=48, per_endpoint=2, breaker_failures=3, cool_down_s=5, cool_down_max_s=20))
    assert len(_fill(endpoints, *[f"http://a/{number}" for number in range(20)])) == 3
    endpoints.done("http://a/0", NOW, answered=True)
    assert len(endpoints.take(NOW)) == 10


def test_all_together_stay_within_the_limit() -> None:
    """However many endpoints there are."""
    endpoints = Endpoints(LIMITS)
    assert len(_fill(endpoints, *[f"http://h{number}/" for number in range(20)])) == 8


def test_what_waits_for_one_endpoint_takes_nothing_from_others_of_its_server() -> None:
    """A server is busy by what it is sent alone."""
    endpoints = Endpoints(LIMITS)
    assert _fill(endpoints, *["http://a/hangs"] * 5) == ["http://a/hangs"]
    assert endpoints.busy(NOW) == Busy(("http://a/hangs",))
    assert _fill(endpoints, "http://a/fine") == ["http://a/fine"]


def test_one_server_cannot_take_all_by_many_urls() -> None:
    """A quarter is its share; what is beyond is held, and no more of the server is claimed, whatever the endpoint."""
    endpoints = Endpoints(LIMITS)
    assert len(_fill(endpoints, *[f"http://a/{number}" for number in range(5)], "http://b/")) == 3
    assert endpoints.unwanted(NOW) == []
    assert endpoints.busy(NOW) == Busy(("http://b/",), ("http://a/",))
    endpoints.done("http://a/0", NOW, answered=True)
    assert len(endpoints.take(NOW)) == 1
    assert len(endpoints.drop_held()) == 2


def test_what_a_server_cannot_take_for_long_is_given_back() -> None:
    """So that nothing piles up here of URLs that have no path to know their server by."""
    endpoints = Endpoints(LIMITS)
    assert len(_fill(endpoints, *[f"http://a?{number}" for number in range(11)])) == 2
    assert len(endpoints.busy(NOW).endpoints) == 11
    assert [until - NOW for _, until in endpoints.unwanted(NOW)] == [5000]
    assert len(endpoints.drop_held()) == 8


def test_a_breaker_opens_after_silences_in_a_row_and_lets_one_through_later() -> None:
    """Open: nothing passes. Half open: one. Silent again: longer. Answered: all."""
    endpoints, now = Endpoints(LIMITS), NOW
    for _ in range(3):
        assert len(_fill(endpoints, "http://a/")) == 1
        endpoints.done("http://a/", now, answered=False)
    assert endpoints.busy(now) == Busy(("http://a/",))
    assert endpoints.next_opening(now) == now + 5000
    assert _fill(endpoints, "http://a/", "http://a/") == []
    assert [until for _, until in endpoints.unwanted(now)] == [now + 5000] * 2
    now += 5000
    endpoints.hold(_due("http://a/"))
    endpoints.hold(_due("http://a/"))
    assert endpoints.next_opening(now) is None
    assert len(endpoints.take(now)) == 1
    endpoints.done("http://a/", now, answered=False)
    assert endpoints.next_opening(now) == now + 10_000
    now += 10_000
    assert len(endpoints.take(now)) == 1
    endpoints.done("http://a/", now, answered=True)
    assert len(_fill(endpoints, "http://a/", "http://a/")) == 2


def test_an_error_that_is_answered_is_no_silence() -> None:
    """A server that answers 500 costs nobody time."""
    endpoints = Endpoints(LIMITS)
    for _ in range(9):
        _fill(endpoints, "http://a/")
        endpoints.done("http://a/", NOW, answered=True)
    assert endpoints.busy(NOW) == Busy()


def test_an_endpoint_that_was_silent_once_is_called_by_one_at_a_time() -> None:
    """So that many jobs do not hang on it together."""
    endpoints = Endpoints(LIMITS)
    _answer(endpoints, "http://a/")
    _fill(endpoints, "http://a/")
    endpoints.done("http://a/", NOW, answered=False)
    assert endpoints.busy(NOW) == Busy()
    assert len(_fill(endpoints, "http://a/", "http://a/")) == 1


def test_what_is_idle_is_forgotten() -> None:
    """Endpoints of ended jobs do not pile up, nor do their failures tell anything for ever."""
    endpoints = Endpoints(LIMITS)
    _fill(endpoints, "http://a/", "http://b/", "http://c/")
    endpoints.done("http://a/", NOW, answered=True)
    endpoints.done("http://b/", NOW, answered=False)
    endpoints.done("http://c/", NOW, answered=None)
    endpoints.busy(NOW)
    assert set(endpoints._endpoints) == {"http://b/"}
    endpoints.busy(NOW + 3_600_000)
    assert endpoints._endpoints == {}
    assert not endpoints._servers


def test_a_server_none_of_whose_endpoints_answers_is_left_alone_as_a_whole() -> None:
    """For an endpoint that was never called too; half open it is called by one; any answer closes it."""
    endpoints, now = Endpoints(LIMITS), NOW
    for number in range(3):
        assert len(_fill(endpoints, f"http://down/{number}")) == 1
        endpoints.done(f"http://down/{number}", now, answered=False)
    assert _fill(endpoints, "http://down/new", "http://up/") == ["http://up/"]
    assert [(claim.callback.endpoint, until - now) for claim, until in endpoints.unwanted(now)] == [
        ("http://down/new", 5000)
    ]
    assert endpoints.next_opening(now) == now + 5000
    now += 5000
    for url in ("http://down/new", "http://down/newer"):
        endpoints.hold(_due(url))
    assert [claim.callback.endpoint for claim in endpoints.take(now)] == ["http://down/new"]
    endpoints.done("http://down/new", now, answered=True)
    assert [claim.callback.endpoint for claim in endpoints.take(now)] == ["http://down/newer"]


def test_one_endpoint_that_hangs_says_nothing_of_its_server() -> None:
    """However often it hangs, another path of the same server is called at once."""
    endpoints = Endpoints(LIMITS)
    for round_ in range(6):
        endpoints.hold(_due("http://a/hangs"))
        assert len(endpoints.take(NOW + round_ * 100_000)) == 1
        endpoints.done("http://a/hangs", NOW + round_ * 100_000, answered=False)
    assert _fill(endpoints, "http://a/fine") == ["http://a/fine"]
