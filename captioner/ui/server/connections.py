"""Limits of number and time for the connections of the server, so that strangers cannot hold all of them.

A connection waits from its start, or from its last answer, until the head of a request is complete. Waiting ones are
closed after a while, or as soon as their place is needed, so that unfinished requests cannot keep others out.
"""

import ipaddress
import logging
import math
import socket
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from captioner.system.handles import RESERVED, max_handles

log = logging.getLogger(__name__)

MAX_CONNECTIONS, MIN_CONNECTIONS = 2_000, 50  # 200 browsers have at most 1,200
HEAD_S = 20.0  # for the head of a request
BODY_S, BODY_BYTES = 30.0, 10_000  # a body must make this much progress in that time
DISCARD_S = 5.0  # for the rest of a body that was answered already
READ_S = 120.0  # for the client to take what it is sent; a browser continues a paused video with a new request


class Connections:
    """The open connections of one server. Used by its event loop alone."""

    def __init__(self, total: int, per_address: int) -> None:
        self._total, self._per_address = total, per_address
        self._open: dict[str, dict[LimitedProtocol, None]] = {}  # by address, the oldest connection first
        self._count = 0

    def __iter__(self) -> "Iterator[LimitedProtocol]":
        return iter([*chain.from_iterable(self._open.values())])

    def __len__(self) -> int:
        return self._count

    def add(self, new: "LimitedProtocol") -> bool:
        """Keep a connection and return True, or return False if there is no room even after closing a waiting one."""
        same = self._open.setdefault(new.address, {})
        crowd = same if len(same) >= self._per_address else None
        if crowd is None and self._count >= self._total:
            crowd = max(self._open.values(), key=len)
        if crowd is not None:
            log.warning("too many connections; those that wait for a request make room for new ones")
            oldest = next((connection for connection in crowd if connection.is_waiting()), None)
            if oldest is None:
                return False
            self.remove(oldest)
            oldest.transport.abort()
        self._open.setdefault(new.address, same)[new] = None
        self._count += 1
        return True

    def remove(self, connection: "LimitedProtocol") -> None:
        """Forget a connection, if it is still known."""
        same = self._open.get(connection.address, {})
        if connection in same:
            del same[connection]
            self._count -= 1
        if not same:
            self._open.pop(connection.address, None)

    def close_late(self, now_s: float) -> None:
        """Close the connections whose client is too slow."""
        for connection in self:
            if connection.deadline_s() < now_s:
                log.info("closed a connection from %s, which was too slow", connection.address)
                connection.transport.abort()


class LimitedProtocol(H11Protocol):
    """One connection, as uvicorn's own, but limited."""

    def __init__(self, *args: Any, connections: Connections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limited_by, self.address = connections, ""
        self._since_s, self._num_bytes, self._answered, self._blocked_s = time.monotonic(), 0, False, math.inf

    def is_waiting(self) -> bool:
        """Return whether no request is complete or being answered."""
        return self.conn.their_state is h11.IDLE

    def deadline_s(self) -> float:
        """Return the time of the monotonic clock after which the client is too slow."""
        if self.is_waiting():
            return self._since_s + HEAD_S
        if self.conn.their_state is h11.SEND_BODY and self._answered:
            return self._since_s + DISCARD_S
        if self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused:
            return self._since_s + BODY_S
        return self._blocked_s + READ_S

    def _should_upgrade(self) -> bool:
        return False  # the page uses no websockets; uvicorn would log two lines for each attempt

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.address = network_of(self.client[0]) if self.client else ""
        opened = transport.get_extra_info("socket")
        if opened is not None:  # asyncio sets it only on sockets that it has opened itself
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.limited_by.add(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.limited_by.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.is_waiting() and self._answered:
            self._restart_clock(answered=False)
        super().data_received(data)
        self._num_bytes += len(data)
        if not self.is_waiting() and not self._answered and (self._num_bytes >= BODY_BYTES or self.flow.read_paused):
            self._restart_clock(answered=False)

    def on_response_complete(self) -> None:
        self._restart_clock(answered=True)
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._blocked_s = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._blocked_s = math.inf
        super().resume_writing()

    def _restart_clock(self, answered: bool) -> None:
        self._since_s, self._num_bytes, self._answered = time.monotonic(), 0, answered


def new_connections() -> Connections:
    """Return limits that leave enough handles for a job: at most half of all connections come from one address."""
    total = min(MAX_CONNECTIONS, max(MIN_CONNECTIONS, (max_handles() - RESERVED) * 3 // 4))
    return Connections(total, total // 2)


def network_of(address: str) -> str:
    """Return an IPv4 address as it is, and of an IPv6 address the network, in which one machine has all addresses."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
