"""A model server that speaks the OpenAI protocol, and misbehaves as the prompt says. Its captions are made up."""

import asyncio
import contextlib
import json
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

WORDS = ["A", "red", "ball", "rolls", "over", "the", "gray", "floor", "."]
IMAGE_TOKENS, TIME_TOKENS = 20, 5
DROPS_AFTER = 6  # frames, for the prompt "drop"
OK = 200


def about_a_ball(content: list[dict[str, Any]]) -> dict[str, float]:
    """Say yes to a prompt about a ball."""
    has_ball = "ball" in content[-1]["text"]
    return {"Yes": 0.6, " yes": 0.2, "No": 0.1} if has_ball else {"No": 0.9, "\u0120Yes": 0.05}


@dataclass
class FakeServer:
    """The server's habits, and the requests that it got. `key`: what it wants to be sent as a bearer."""

    models: tuple[str, ...] = ("toy",)
    form: str = "images"  # the best form that it takes; see clip_message.FORMS
    key: str = ""
    reports_usage: bool = True
    gives_logprobs: bool = True
    lists_chosen: bool = True  # the token that it chose is among the likeliest, too; not so in LMDeploy
    answer: Callable[[list[dict[str, Any]]], dict[str, float]] = about_a_ball  # content -> likeliest tokens
    refused_fields: tuple[str, ...] = ()  # a request with one of them gets 422
    refuses_vllm_kwargs: bool = False
    redirects_to: str = ""
    fails_until_s: float = 0.0  # monotonic
    failure: str = "Loading model"  # as llama-server says it
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    tries: Counter[str] = field(default_factory=Counter)  # by prompt
    disconnects: int = 0
    most_at_once: int = 0
    token_s: float = 0.0
    at_once: int = 0
    busy_s: float = 0.0  # of all requests together

    async def list_models(self, request: Request) -> Response:
        if self.redirects_to:
            return RedirectResponse(self.redirects_to)
        if time.monotonic() < self.fails_until_s:
            return JSONResponse({"error": {"code": 503, "message": self.failure, "type": "unavailable_error"}}, 503)
        if refusal := self._refuse_key(request):
            return refusal
        return JSONResponse({"object": "list", "data": [{"id": each, "object": "model"} for each in self.models]})

    async def complete(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.headers.append(dict(request.headers))
        if refusal := self._refuse_key(request) or self._refuse_fields(body):
            return refusal
        parts = body["messages"][0]["content"]
        prompt = parts[-1]["text"]
        is_probe = body.get("max_tokens", body.get("max_completion_tokens")) == 1 and not body.get("logprobs")
        if not is_probe:
            self.bodies.append(body)
            self.tries[prompt] += 1
        num_frames = sum(_frames(part) for part in parts)
        tokens = len(prompt.split()) + num_frames * IMAGE_TOKENS
        fault = "" if is_probe else prompt.split()[0]
        if fault == "drop":
            tokens -= max(0, num_frames - DROPS_AFTER) * IMAGE_TOKENS
        first, *rest = prompt.split()
        if body.get("logprobs") and self.gives_logprobs:
            return StreamingResponse(self._likely(body, tokens), media_type="text/event-stream")
        is_over = first == "until" or (rest[:1] == ["once"] and self.tries[prompt] > 1)
        return self._answer(request, "" if is_over else fault, tokens, 1 if is_probe else len(WORDS))

    def _refuse_key(self, request: Request) -> Response | None:
        if not self.key or request.headers.get("authorization") == f"Bearer {self.key}":
            return None
        given = request.headers.get("authorization", "none")
        return JSONResponse({"error": {"message": f"Incorrect API key provided: {given}"}}, 401)

    def _refuse_fields(self, body: dict[str, Any]) -> Response | None:
        video = [part for part in body["messages"][0]["content"] if part["type"] == "video_url"]
        refused = sorted(body.keys() & set(self.refused_fields))
        if refused:
            hint = "; use 'max_completion_tokens' instead" if "max_tokens" in refused else ""
            return JSONResponse({"detail": f"Unexpected fields in the request: {refused}{hint}"}, 422)
        is_jpeg = bool(video) and video[0]["video_url"]["url"].startswith("data:video/jpeg")
        if "media_io_kwargs" in body and self.refuses_vllm_kwargs:
            words = "Per-request media_io_kwargs are disabled. Start with --trust-request-mm-kwargs only when"
            return JSONResponse({"error": {"message": words, "param": "media_io_kwargs"}}, 400)
        if video and (self.form == "images" or (is_jpeg and self.form != "frames")):
            return JSONResponse({"error": {"message": "this model takes no video"}}, 400)
        if is_jpeg:
            count, times = _frames(video[0]), body["media_io_kwargs"]["video"]["frames_indices"]
            if len(times) != count:
                return JSONResponse({"error": {"message": "frames_indices must match the frames"}}, 400)
        return None

    def _answer(self, request: Request, fault: str, tokens: int, num_words: int) -> Response:
        match fault:
            case "429":
                return JSONResponse({"error": {"message": "slow down"}}, 429, {"Retry-After": "1"})
            case "500":
                return JSONResponse({"error": {"message": "out of\nluck"}}, 500)
            case "400":
                return JSONResponse({"error": {"message": f"no: {request.headers.get('authorization')}"}}, 400)
            case "html":
                return Response("<html>Bad gateway</html>", 502, media_type="text/html")
            case "json":
                return Response("data: {oops\n\n", media_type="text/event-stream")
            case "nothing":  # as vLLM when its engine fails before the first token
                return Response("data: [DONE]\n\n", media_type="text/event-stream")
            case "shape":
                return Response('data: {"choices": [{"delta": 5}]}\n\n', media_type="text/event-stream")
            case "elsewhere":
                return RedirectResponse("http://203.0.113.9/v1/chat/completions", 307)
            case "zipped":
                return Response(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}, media_type="text/event-stream")
        return StreamingResponse(self._stream(request, fault, tokens, num_words), media_type="text/event-stream")

    async def _likely(self, body: dict[str, Any], tokens: int):
        likely = self.answer(body["messages"][0]["content"])
        top = [{"token": token, "logprob": math.log(share), "bytes": None} for token, share in likely.items()]
        choice = {"index": 0, "delta": {"content": top[0]["token"]}, "finish_reason": "length"}
        listed = top if self.lists_chosen else top[1:]
        logprobs = {"content": [top[0] | {"top_logprobs": listed}]}
        usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
        yield f"data: {json.dumps({'choices': [choice | {'logprobs': logprobs}]})}\n\n"
        yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n"

    async def _stream(self, request: Request, fault: str, tokens: int, num_words: int):
        started_s = time.monotonic()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if fault == "long":  # 10 MB of text
                for _ in range(100):
                    yield _chunk(content="word " * 20_000)
            if fault == "line":  # one line of 40 MB
                for _ in range(400):
                    yield "data: " if _ == 0 else "x" * 100_000
            yield _chunk(content="" if fault != "think" else "<think>a ball</think>")
            if fault == "endless":
                yield _chunk(content="<think> round and round")
            for word in WORDS[:num_words] if fault not in ("endless", "reason") else ():
                yield _chunk(content=f"{word} ")
                await asyncio.sleep(self.token_s)
                if fault == "stall":
                    await asyncio.sleep(60)
                if fault in ("half", "slow", "abort"):
                    break
            while fault == "slow":
                yield _chunk(content="so ")
                await asyncio.sleep(0.05)
            if fault == "reason":
                yield _chunk(reasoning_content="I see a ball.")
                yield _chunk(content="A ball.")
            if fault == "inside":  # as SGLang, llama.cpp and proxies tell that a prompt is too long
                yield 'data: {"error": {"code": 400, "message": "exceeds the context size"}}\n\n'
            if fault == "words":  # as LM Studio does
                yield 'event: error\ndata: {"error": "Model unloaded."}\n\n'
            if fault == "nulls":  # as Azure, Groq and DeepSeek end a stream
                yield 'data: {"choices": [{"index": 0, "delta": null, "finish_reason": "stop"}]}\n\n'
                yield f'data: {{"usage": {{"prompt_tokens": {tokens}}}}}\n\n'
                yield 'data: {"choices": null}\n\ndata: [DONE]\n\n'
            if fault == "abort":  # as vLLM ends the streams of requests that it gives up
                yield f"{_chunk('abort')}data: [DONE]\n\n"
            if fault == "error":
                yield 'data: {"error": {"message": "the engine died"}}\n\n'
            if fault in ("half", "abort", "error", "inside", "words", "nulls"):
                return
            if fault == "key":
                yield _chunk(content=request.headers["authorization"])
            yield _chunk("length" if fault == "endless" else "stop")
            if self.reports_usage:
                usage = {"prompt_tokens": tokens, "completion_tokens": num_words, "total_tokens": tokens + num_words}
                yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
            yield "data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.disconnects += 1
            raise
        finally:
            self.at_once -= 1
            self.busy_s += time.monotonic() - started_s


def _chunk(finish_reason: str | None = None, **delta: str) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"


def _frames(part: dict[str, Any]) -> int:
    if part["type"] == "image_url":
        return 1
    if part["type"] == "text":
        return 0
    url = part["video_url"]["url"]
    return url.count(",") if url.startswith("data:video/jpeg") else 4


@contextlib.contextmanager
def running(server: FakeServer, port: int = 0) -> Iterator[str]:
    """Run the server in a thread; yield its address."""
    routes = [Route("/v1/models", server.list_models), Route("/v1/chat/completions", server.complete, methods=["POST"])]
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(Starlette(routes=routes), log_level="critical", timeout_graceful_shutdown=0)
    program = uvicorn.Server(config)
    thread = threading.Thread(target=program.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not program.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        program.should_exit = True
        thread.join()
        listener.close()
