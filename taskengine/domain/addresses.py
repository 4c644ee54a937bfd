"""Which addresses may be called on a client's behalf."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

SETTING = "TASKENGINE_OUTBOUND_ALLOW"

# Where clouds hand out machine credentials. Some of them look global, so that they must be named.
METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, GCP, Azure, OpenStack, DigitalOcean …
        "169.254.170.2",  # AWS ECS
        "169.254.170.23",  # AWS EKS pod identity
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",  # AWS EKS pod identity over IPv6
        "fd20:ce::254",  # GCP over IPv6
        "168.63.129.16",  # Azure's wire server
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "169.254.0.23",  # Tencent
        "169.254.42.42",  # Scaleway
        "fd00:42::42",  # Scaleway over IPv6
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # reaches the public IPv4 address in its last 32 bits
_UNICAST = IPv6Network("2000::/3")
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in ("192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")  # relays, tunnels, documents
)
# Forms of IPv6 that carry an IPv4 address: (network, how many bits follow it)
_CARRIERS = (
    (IPv6Network("::/96"), 0),  # v4-compatible
    (IPv6Network("::ffff:0:0/96"), 0),  # v4-mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # v4-translated
    (_NAT64, 0),
    (IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 of one's own
    (IPv6Network("2002::/16"), 80),  # 6to4
)
_ISATAP, _ISATAP_MASK = 0x00005EFE, 0xFCFFFFFF  # the first half of such an interface's number, but two flag bits


def networks(texts: Sequence[str]) -> tuple[IPNetwork, ...]:
    """Parse networks (`10.0.0.0/8`, `::1`); ValueError names the one that is none."""
    return tuple(ipaddress.ip_network(text.strip(), strict=False) for text in texts if text.strip())


def judge_address(address: IPAddress, allow: Sequence[IPNetwork] = ()) -> str | None:
    """Why `address` may not be called; None where it may."""
    effective = _effective(address)
    carried = list(_carried(effective))
    if any(form in METADATA for form in (effective, *carried)):
        return f"{address} is a metadata address, which {SETTING} cannot allow"
    if any(effective in network for network in allow):
        return None
    judged = carried[0] if carried and effective in _NAT64 else effective
    if (kind := _kind(judged)) is None or (judged is not effective and any(judged in network for network in allow)):
        return None
    article = "an" if kind == "unspecified" else "a"
    return f"{address} is {article} {kind} address, which {SETTING} does not allow"


def _effective(address: IPAddress) -> IPAddress:
    """The address that the system would really connect to."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        return IPv6Address(int(address))  # without its scope
    return address


def _carried(address: IPAddress) -> Iterator[IPv4Address]:
    """IPv4 addresses inside an IPv6 one."""
    if isinstance(address, IPv4Address):
        return
    for network, shift in _CARRIERS:
        if address in network:
            yield IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    if address.teredo is not None:
        yield from address.teredo
    if (int(address) >> 32) & _ISATAP_MASK == _ISATAP:
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def _kind(address: IPAddress) -> str | None:
    """What keeps an address from being an ordinary public one."""
    properties = ("unspecified", "loopback", "link_local", "multicast", "site_local", "private", "reserved")
    for name in properties:
        if getattr(address, f"is_{name}", False):
            return name.replace("_", "-")
    special = any(address in network for network in _SPECIAL)
    if special or not address.is_global or (isinstance(address, IPv6Address) and address not in _UNICAST):
        return "special-purpose"
    return None
