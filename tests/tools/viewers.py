"""Browsers as the server sees them, many in one process: the page, the list, the pulse, thumbnails.

`python -m tests.tools.viewers ADDRESS COUNT STRANGERS` watches while its standard input says "go" and rests at "rest";
when it ends, it prints what it saw as JSON. Times in seconds. Each stranger holds a connection with half a request.
"""

import asyncio
import contextlib
import json
import random
import statistics
import sys
import threading
from collections.abc import Callable

import httpx

from captioner.system.handles import raise_limit
from tests.support.pulse import pulse_request

PULSE_S = 1.0
HALF_REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "
THUMBNAILS = 5  # fetched after each pulse, as a gallery that is being scrolled does


class Viewers:
    """`count` of them. None pauses while `watching` is set."""

    def __init__(self, address: str, count: int) -> None:
        self.address, self.count = address, count
        self.watching, self.ended = asyncio.Event(), False
        self.answers_s: list[float] = []
        self.problems: dict[str, int] = {}
        self.num_requests = 0

    async def watch(self, num_strangers: int) -> None:
        pulse = pulse_request(self.address)
        async with httpx.AsyncClient(base_url=self.address, timeout=30) as client:
            viewers = (self._view(client, pulse, number) for number in range(self.count))
            await asyncio.gather(*viewers, *(self._hang(number) for number in range(num_strangers)))

    async def _hang(self, number: int) -> None:
        url = httpx.URL(self.address)
        await asyncio.sleep(number / 1000)
        while not self.ended:
            await self.watching.wait()
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(url.host, url.port)
                writer.write(HALF_REQUEST)
                while self.watching.is_set() and not self.ended and not reader.at_eof():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(), 1)
                writer.close()
            await asyncio.sleep(0.1)

    async def _view(self, client: httpx.AsyncClient, pulse: Callable[[int], dict], number: int) -> None:
        chance, body = random.Random(number), pulse(number)
        await self.watching.wait()
        await asyncio.sleep(chance.random() * PULSE_S)
        await self._ask(client, "GET", "/")
        answer = await self._ask(client, "GET", "gradio_api/vcs/list.json")
        listing = answer.json() if answer else None
        while listing and not self.ended:
            await self.watching.wait()
            started = asyncio.get_running_loop().time()
            answer = await self._ask(client, "POST", "gradio_api/vcs/pulse", json=body["data"])
            self.answers_s.append(asyncio.get_running_loop().time() - started)
            if answer and answer.text:
                body["data"][0] = answer.json()["cursor"]
            for _ in range(THUMBNAILS):
                index = chance.randrange(len(listing["names"]))
                await self._ask(client, "GET", f"gradio_api/vcs/thumb/{listing['scan']}-{index}.jpg")
            await asyncio.sleep(max(0.0, PULSE_S - (asyncio.get_running_loop().time() - started)))

    async def _ask(self, client: httpx.AsyncClient, method: str, path: str, **options: object) -> httpx.Response | None:
        self.num_requests += 1
        try:
            answer = await client.request(method, path, **options)
        except httpx.HTTPError as error:
            return self._note(f"{path.partition('-')[0]}: {type(error).__name__}")
        return answer if answer.is_success else self._note(f"{path.partition('-')[0]}: {answer.status_code}")

    def _note(self, problem: str) -> None:
        self.problems[problem] = self.problems.get(problem, 0) + 1

    def summary(self) -> dict:
        answers_s = [*self.answers_s, 0.0, 0.0]
        middle, late = statistics.median(answers_s), statistics.quantiles(answers_s, n=20)[-1]
        times = {"median_s": middle, "p95_s": late, "worst_s": max(answers_s)}
        return {"requests": self.num_requests, "problems": self.problems} | times


async def main(address: str, count: int, num_strangers: int) -> None:
    viewers, loop = Viewers(address, count), asyncio.get_running_loop()
    watching = asyncio.create_task(viewers.watch(num_strangers))

    def listen() -> None:
        for line in sys.stdin:
            set_or_clear = viewers.watching.set if line.strip() == "go" else viewers.watching.clear
            loop.call_soon_threadsafe(set_or_clear)
        viewers.ended = True
        loop.call_soon_threadsafe(viewers.watching.set)

    threading.Thread(target=listen, daemon=True).start()
    await watching
    print(json.dumps(viewers.summary()))


if __name__ == "__main__":
    raise_limit()
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
