"""A client's configuration of callbacks: what is taken, and which rule holds for an endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from taskengine.domain.callback_config import EndpointRule, rule_of
from taskengine.domain.errors import InvalidRequest
from taskengine.domain.tenants import parse_client_config

RULES = [EndpointRule(url) for url in ("https://a.example", "https://a.example/hooks/", "https://a.example:8443/hooks")]


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("https://a.example/", "https://a.example"), ("https://A.example:443/x", "https://a.example"),
        ("https://a.example/hooks", "https://a.example/hooks/"), ("https://a.example/hooks/1?x", "https://a.example/hooks/"),
        ("https://a.example/hooksy", "https://a.example"), ("https://u:p@a.example/hooks/x", "https://a.example/hooks/"),
        ("https://a.example/hooks/../x", "https://a.example"), ("https://a.example:8443/hooks", "https://a.example:8443/hooks"),
        ("https://a.example:8443/", ""), ("http://a.example/hooks", ""), ("https://a.example.evil/hooks", ""),
        ("https://b.example/https://a.example/hooks", ""), ("https://[::1", ""),
    ],
)  # fmt: skip
def test_the_closest_rule_of_the_same_server_holds(endpoint: str, url: str) -> None:
    """Whole parts of the path count; scheme, host and port are the same; what looks alike is another's."""
    assert rule_of(RULES, endpoint).url == url


def test_a_configuration_is_read_whole() -> None:
    """What an endpoint's rule does not say is the client's."""
    config = parse_client_config({
        "callback_events": ["job", "fail", "job"],
        "callback_fields": {"task": {"a": "${{ job.id }}"}},
        "callback_template": {"job": "${{ callback }}"},
        "callback_endpoints": {"http://a.example": {"events": ["start"], "verify_tls": False, "secrets": ["YQ=="]}},
    })  # fmt: skip
    assert config.callback_events == ("job", "fail")
    assert config.callback_endpoints == (
        EndpointRule("http://a.example", events=("start",), secrets=("YQ==",), verify_tls=False),
    )
    assert parse_client_config({}).callback_events == ("start", "complete", "fail", "job")


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"callback_events": ["ended"]}, "unknown event 'ended'"),
        ({"callback_events": "job"}, "must be a list"),
        ({"callback_template": {"jobs": {}}}, "unknown kind 'jobs'"),
        ({"callback_fields": {"task": []}}, "object of fields"),
        ({"callback_endpoints": {"ftp://a": {}}}, "no http or https URL"),
        ({"callback_endpoints": {"http://a": {"event": []}}}, "unknown setting 'event'; did you mean 'events'"),
        ({"callback_endpoints": {"http://a": {"headers": {"webhook-id": "1"}}}}, "the engine itself sets: webhook-id"),
        ({"callback_endpoints": {"http://a": {"secrets": ["§"]}}}, "secrets of http://a must be base64"),
        ({"callback_headers": {"Host": "x"}}, "the engine itself sets: Host"),
        ({"callback_headers": {"x": "a\nb"}}, "no header can have"),
    ],
)
def test_a_wrong_wish_is_named(config: dict[str, Any], fault: str) -> None:
    """The setting and what is wrong with it, without a secret."""
    with pytest.raises(InvalidRequest) as caught:
        parse_client_config(config)
    assert next(iter(config)) in str(caught.value)
    assert fault in str(caught.value)
