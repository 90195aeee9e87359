"""Tries: a request is sent again where that may help, and as many are sent at once as the server can take."""

import asyncio
import math
import random
import time

from captioner.replicas.clip_message import ClipMessage
from captioner.replicas.server import ModelServer, OnToken, Reply
from captioner.replicas.server_errors import Away, Broken, Busy, Refused, ServerError, delay_s
from captioner.values import GenerationOptions

MAX_AWAY, MAX_BROKEN, MAX_BUSY = 3, 4, 10  # tries of one request
FIRST_LIMIT, MAX_LIMIT = 4, 64  # requests at once, where the user gave no number
FORGET = 1.01  # the shortest wait may have been that of an unusually short clip


class Tries:
    """Asks one server. `limit` is the number of requests to send at once. Used by one event loop."""

    def __init__(self, server: ModelServer, num_requests: int) -> None:
        """num_requests: at once; 0: as many as the server answers without letting them wait."""
        self._server, self.is_fixed = server, bool(num_requests)
        self.limit = num_requests or FIRST_LIMIT
        self._free_at_s = 0.0  # monotonic; the server asked to be left alone until then
        self._shortest_s = math.inf  # from a request to its first token

    async def ask(self, message: ClipMessage, options: GenerationOptions, on_token: OnToken) -> Reply:
        """Return the answer. Raise Refused if this request cannot be answered, Away if the server answers none."""
        away = broken = busy = 0
        while True:
            await self._wait_until_free()
            try:
                reply = await self._server.ask(message, options, on_token)
            except Busy as error:
                busy += 1
                if busy == MAX_BUSY:
                    raise Away(str(error)) from None
                self._slow_down(error.retry_after_s or delay_s(busy))
            except Away:
                away += 1
                if away == MAX_AWAY:
                    raise
                await asyncio.sleep(delay_s(away))
            except Broken as error:
                broken += 1
                if broken == MAX_BROKEN:
                    raise await self._blame(error) from None
                await asyncio.sleep(delay_s(broken))
            else:
                self._adapt(reply.first_token_s)
                return reply

    async def _wait_until_free(self) -> None:
        while (left_s := self._free_at_s - time.monotonic()) > 0:
            await asyncio.sleep(left_s + random.uniform(0, min(1.0, left_s)))  # not all requests at one moment

    async def _blame(self, error: Broken) -> ServerError:
        """Return Refused if the server answers other requests, else Away."""
        try:
            await self._server.ping()
        except ServerError:
            return Away(str(error))
        return Refused(f"{error}, {MAX_BROKEN} times")

    def _slow_down(self, seconds: float) -> None:
        self._free_at_s = max(self._free_at_s, time.monotonic() + seconds)
        if not self.is_fixed:
            self.limit = max(1, self.limit // 2)

    def _adapt(self, first_token_s: float) -> None:
        """Send one request more or less at once, as the first token comes soon or late."""
        self._shortest_s = min(self._shortest_s * FORGET, first_token_s)
        if self.is_fixed:
            return
        if first_token_s <= 2 * self._shortest_s + 0.2:
            self.limit = min(self.limit + 1, MAX_LIMIT)
        elif first_token_s > 4 * self._shortest_s + 1.0:
            self.limit = max(1, self.limit - 1)
