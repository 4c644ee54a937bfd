"""Which URLs may be called, as far as it can be known without asking DNS."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from yarl import URL

from taskengine.domain.addresses import IPAddress, IPNetwork, judge_address


def judge_url(url: str, allow: Sequence[IPNetwork] = ()) -> str | None:
    """Why `url` may not be called, as far as it can be known without asking DNS; None where nothing speaks against it.

    Literal addresses are judged in every spelling that a resolver would take: decimal, octal, hexadecimal, short,
    IPv6 forms, full-width digits.
    """
    try:
        parsed = URL(url)
        host, _ = parsed.host, parsed.port
    except (ValueError, TypeError) as error:
        return f"is not a URL: {error}"
    if parsed.scheme not in {"http", "https"}:
        return "is not an http or https URL"
    if not host:
        return "is a URL without a host"
    reasons = [judge_address(address, allow) for address in _literal(host)]
    return next(iter(reasons), None) if None not in reasons else None


def _literal(host: str) -> list[IPAddress]:
    """The addresses that a host means without DNS."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return [IPv4Address("127.0.0.1"), IPv6Address("::1")]
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    try:
        return [IPv4Address(socket.inet_aton(host))] if host.isascii() and not host.endswith(" ") else []
    except OSError:
        return []
