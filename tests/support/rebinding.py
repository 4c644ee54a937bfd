"""A name server of its own, named by the system's settings, and what the guarded client makes of its answers.

Run as root of a network and a mount of its own (`unshare -rmn`): it takes port 53, and `/etc/resolv.conf` names it.
Prints, as JSON, by name: what became of each call, and how often it was asked for; what the canary and the decoy got; and how
long a call takes beside names that are never answered.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import struct
import time
from collections import Counter, defaultdict
from ipaddress import ip_address

from dnslib import AAAA, QTYPE, RR, A, DNSError, DNSRecord
from dnslib.server import DNSHandler, DNSLogger, DNSServer

from taskengine.net import GuardedClients, OutboundFault, OutboundRefused, Timeouts, networks
from tests.support.receiver import CallbackReceiver

DECOY, CANARY = "127.0.0.2", "127.0.0.1"
NAMES = {  # what each is answered, one after the other, the last one for ever
    "outer.example": [[DECOY]],
    "inner.example": [[CANARY, "::1", "::ffff:127.0.0.1"]],
    "rebind.example": [[DECOY], [CANARY]],
    "both.example": [[DECOY, CANARY], [CANARY, DECOY]],
}
CALLS, HANGING = 3, 100
_SET_FLAGS, _UP = 0x8914, 0x41  # of `ioctl`, for an interface


class Names:
    """Answers from the table; nothing may be remembered."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        """The addresses of the family that is asked for: both are asked for each time, IPv4 counts."""
        del handler
        reply, name = request.reply(), str(request.q.qname).rstrip(".").lower()
        if name.startswith("hangs"):
            raise DNSError("is not answered")
        turns = NAMES.get(name, [[]])
        addresses = turns[min(self.asked[name], len(turns) - 1)]
        kind = QTYPE[request.q.qtype]
        for address in map(ip_address, addresses):
            if kind == "A" and address.version == 4:
                reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(str(address)), ttl=0))
            elif kind == "AAAA" and address.version == 6:
                reply.add_answer(RR(request.q.qname, QTYPE.AAAA, rdata=AAAA(str(address)), ttl=0))
        self.asked[name] += kind == "A"
        return reply


async def main() -> None:
    """Call every name several times, each time with a client that remembers nothing."""
    names, told = Names(), defaultdict[str, list[str]](list)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))
    server = DNSServer(names, address="127.0.0.1", port=53, logger=DNSLogger(logf=lambda _: None))
    server.start_thread()
    async with CallbackReceiver() as canary, CallbackReceiver(host=DECOY, port=canary.port) as decoy:
        for _ in range(CALLS):
            for name in NAMES:
                async with GuardedClients(networks([DECOY])) as clients:
                    client = await clients.client()
                    try:
                        url = f"http://{name}:{canary.port}/{name}"
                        answer = await client.request("GET", url, timeouts=Timeouts(total_s=20, connect_s=20))
                        told[name].append(str(answer.status))
                    except (OutboundFault, OutboundRefused) as error:
                        told[name].append(str(error))
        beside_hanging = await _beside_hanging(decoy.port)
        reached = {"canary": len(canary.received), "decoy": sorted(one.path for one in decoy.received)}
    server.stop()
    print(json.dumps({"told": told, "asked": names.asked, "beside_hanging_s": beside_hanging, **reached}))


async def _beside_hanging(port: int) -> float:
    """Seconds that a call of a name of this machine takes while names are asked for that are never answered."""
    async with GuardedClients(networks([DECOY])) as clients:
        client = await clients.client()
        hanging = [
            asyncio.ensure_future(client.request("GET", f"http://hangs{number}.example/")) for number in range(HANGING)
        ]
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await client.request("GET", f"http://outer.example:{port}/outer.example", timeouts=Timeouts(total_s=20))
        took = time.monotonic() - began
        for one in hanging:
            one.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        return took


if __name__ == "__main__":
    asyncio.run(main())
