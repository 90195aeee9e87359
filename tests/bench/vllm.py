"""This engine compared with a running vLLM server: the same model, pixels, prompts and lengths, one core each.

Both run in turns, and each clip of both is written to its full drawn length. The rates are clips per CPU second: of the
server's processes, and of this process from pixels to tokens (the model's processor and the engine). While one side
runs the other rests: the server is suspended, since a waiting vLLM may keep its core busy.
"""

import base64
import io
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import torch
from PIL import Image

from captioner.cli.bench.engine import same_tokens
from captioner.cli.bench.models import open_model
from captioner.cli.bench.rendered_clips import draw_lengths, render_clips
from captioner.cli.bench.report import Report
from captioner.cli.bench.variants import PROMPT, EngineSettings, run_core
from captioner.engine.choose import choose_core
from captioner.engine.core import Core
from captioner.engine.prepare import Preparer
from captioner.errors import CaptionerError
from captioner.values import Frames, GenerationOptions, ModelSpec

Tokens = dict[int, tuple[int, ...]]
COLUMNS = ("in_flight", "vllm_clips_per_cpu_s", "ours_clips_per_cpu_s", "ratio", "tokens_equal")
WARM_UP_TOKENS = 4
SLOT_TOKENS = 2304
TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Clip:
    """A clip to caption: its frames, the body of its request to vLLM, and the length of its caption."""

    frames: Frames
    body: dict[str, Any]
    num_tokens: int


@dataclass(frozen=True)
class Turn:
    """What one side did in its turn."""

    tokens: Tokens
    cpu_s: float
    num_prompt_tokens: int


class Server:
    """A vLLM server on this machine, started with the flags that docs/benchmarks.md names. Raises CaptionerError."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        owners = [each.pid for each in psutil.net_connections("tcp") if _listens(each, address.port)]
        if not owners or not owners[0]:
            raise CaptionerError(f"no process of yours on this machine listens at {url}; start vLLM here")
        main = psutil.Process(owners[0])
        self._processes = [main, *main.children(recursive=True)]
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)
        self.version = str(self._client.get("/version").json()["version"])

    @property
    def cpu_s(self) -> float:
        """The CPU seconds of all its processes so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Keep the server's processes from running meanwhile."""
        for process in self._processes:
            process.suspend()
        try:
            yield
        finally:
            for process in self._processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def run(self, clips: Sequence[Clip], in_flight: int) -> Turn:
        """Caption the clips, always `in_flight` of them at once. Raises CaptionerError."""
        before_s = self.cpu_s
        with ThreadPoolExecutor(in_flight) as threads:
            answers = list(threads.map(self._ask, clips))
        tokens = {number: tuple(answer["choices"][0]["token_ids"]) for number, answer in enumerate(answers)}
        return Turn(tokens, self.cpu_s - before_s, sum(len(answer["prompt_token_ids"]) for answer in answers))

    def _ask(self, clip: Clip) -> dict[str, Any]:
        answer = self._client.post("/v1/chat/completions", json={**clip.body, "max_tokens": clip.num_tokens})
        if answer.status_code != httpx.codes.OK:
            raise CaptionerError(f"vLLM refused a clip: {answer.text[:300]}")
        return answer.json()


class Engine:
    """This engine on one core of the CPU. Like the server it stays as it is from turn to turn."""

    def __init__(self, folder: str, dtype: str, compiled: bool = False) -> None:
        torch.set_num_threads(1)
        self._spec = ModelSpec(folder, "cpu", dtype, compile=compiled)
        self._core: Core | None = None
        self._model, self._processor = open_model(folder, False, torch.device("cpu"), getattr(torch, dtype))

    def run(self, clips: Sequence[Clip], in_flight: int) -> Turn:
        """Caption the clips with `in_flight` slots. Raises ModelError."""
        core = self._open(in_flight)
        preparer = Preparer(self._processor, core.layout)
        before_s = time.process_time()
        options = [GenerationOptions(max_new_tokens=clip.num_tokens) for clip in clips]
        prepared = [preparer.prepare(i, clips[i].frames, PROMPT, options[i]) for i in range(len(clips))]
        outcome = run_core(core, prepared, in_flight)
        cpu_s = time.process_time() - before_s
        return Turn(outcome.tokens, cpu_s, sum(each.num_prompt_tokens for each in prepared))

    def _open(self, num_slots: int) -> Core:
        """Return the core of so many slots, a new one if that of the last turn has others."""
        if self._core is None or self._spec.batch_size != num_slots:
            if self._core:
                self._core.close()
            self._spec = replace(self._spec, batch_size=num_slots, max_tokens=SLOT_TOKENS)
            self._core = choose_core(self._model, self._spec)
        return self._core


def bench_vllm(url: str, settings: EngineSettings, core: int | None = None, as_json: bool = False) -> None:
    """Print a row for each number of clips in flight. Raises CaptionerError, also if float32 tokens differ.

    core: the core of this process; None: the system's choice.
    """
    server, engine = Server(url), Engine(settings.model, settings.dtype, settings.compile)
    clips = make_clips(settings)
    if core is not None:
        os.sched_setaffinity(0, {core})
    report = Report(COLUMNS, as_json)
    turns = [_compare(server, engine, clips, in_flight, settings.repeats, report) for in_flight in settings.slots or ()]
    tokens = [turn.tokens for pair in turns for turn in pair]
    versions = {"torch": torch.__version__, "vllm": server.version}
    report.end(
        dtype=settings.dtype, clips=len(clips), prompt_tokens=turns[0][0].num_prompt_tokens,
        same_tokens=same_tokens(tokens), **versions,
    )  # fmt: skip
    if len({turn.num_prompt_tokens for pair in turns for turn in pair}) > 1:
        raise CaptionerError("the prompts differ in length, so the comparison means nothing")
    if settings.dtype == "float32" and any(each != tokens[0] for each in tokens):
        raise CaptionerError("the tokens differ, which float32 does not explain")


def _compare(
    server: Server, engine: Engine, clips: list[Clip], in_flight: int, repeats: int, report: Report
) -> tuple[Turn, Turn]:
    """Add the row of the median rates; return the last turn of each side."""
    rates: dict[str, list[float]] = {"vllm": [], "ours": []}
    turns: dict[str, Turn] = {}
    sides: tuple[tuple[str, Callable[[Sequence[Clip], int], Turn]], ...] = ("vllm", server.run), ("ours", engine.run)
    warm_up = [Clip(clip.frames, clip.body, WARM_UP_TOKENS) for clip in clips[:in_flight]]
    for _ in range(repeats):
        for name, run in sides:
            with server.suspended() if name == "ours" else nullcontext():
                run(warm_up, in_flight)
                turns[name] = run(clips, in_flight)
            rates[name].append(len(clips) / turns[name].cpu_s)
    theirs, ours = (statistics.median(rates[name]) for name in ("vllm", "ours"))
    row = round(theirs, 3), round(ours, 3), round(ours / theirs, 3)
    tokens = same_tokens([turns["vllm"].tokens, turns["ours"].tokens])
    report.add(str(in_flight), *row, tokens, rates={name: [round(each, 3) for each in rates[name]] for name in rates})
    return turns["vllm"], turns["ours"]


def make_clips(settings: EngineSettings) -> list[Clip]:
    """Render the clips, with the bodies of their requests: PNGs, so that vLLM sees exactly these pixels."""
    clips = render_clips(settings.num_clips, settings.frames, settings.sizes, settings.seed)
    lengths = draw_lengths(len(clips), settings.new_tokens, settings.seed)
    return [Clip(frames, _body(frames), length) for frames, length in zip(clips, lengths, strict=True)]


def _body(frames: Frames) -> dict[str, Any]:
    """Return a request with the frames and their times; vLLM reads any kind of image under the name video/jpeg."""
    fps, ticks = frames.clock
    count = ticks[-1] + 1
    video = {
        "num_frames": -1, "fps": fps, "frames_indices": ticks, "total_num_frames": count, "duration": count / fps,
        "do_sample_frames": False,
    }  # fmt: skip
    url = f"data:video/jpeg;base64,{','.join(map(_png, frames.pixels))}"
    content = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": PROMPT}]
    return {
        "model": "m", "temperature": 0, "ignore_eos": True, "return_token_ids": True,
        "messages": [{"role": "user", "content": content}], "media_io_kwargs": {"video": video},
    }  # fmt: skip


def _png(pixels: Any) -> str:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "png", compress_level=1)
    return base64.b64encode(encoded.getvalue()).decode()


def _listens(connection: Any, port: int | None) -> bool:
    return connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
