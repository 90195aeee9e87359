"""A model server that misbehaves: one clear line for each fault, no item lost, no key anywhere."""

import asyncio
import multiprocessing
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from captioner.demo.clips import write_samples
from captioner.replicas import endpoint_worker, server_connection, server_errors, tries
from captioner.replicas.endpoint_worker import EndpointWorker
from captioner.replicas.protocol import Answer, Cancelled, Failed, Finished, Lost, Ready, Scored, TokensSoFar
from captioner.values import CaptionRequest, GenerationOptions, ModelSpec, SamplePlan
from tests.support.model_server import FakeServer, running

PLAN = SamplePlan(max_frames=8, min_frames=8, frame_size=64)
KEY = "the-very-secret-key-0123456789"
CAPTION = "A red ball rolls over the gray floor . "


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_samples(folder, num_clips=1, num_stills=1)
    return folder / "clip 01.mp4"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(server_errors, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(server_connection, "STALL_S", 0.3)
    monkeypatch.setattr(endpoint_worker, "START_PATIENCE_S", 0.2)


@dataclass
class Client:
    """The app's end of a worker that runs in a thread."""

    connection: object
    seen: list = field(default_factory=list)

    def wait(self, *kinds, count=1, timeout_s=20.0):
        """Return the first events of these kinds that were not returned yet."""
        deadline = time.monotonic() + timeout_s
        found = []
        while len(found) < count and time.monotonic() < deadline:
            if self.connection.poll(0.05):
                event = self.connection.recv()
                self.seen.append(event)
                found += [event] if isinstance(event, kinds) else []
        assert len(found) == count, self.seen
        return found[0] if count == 1 else found

    def ask(self, path, *prompts, first=1, plan=PLAN, **options):
        kind = "image" if path.suffix == ".png" else "video"
        for number, prompt in enumerate(prompts, first):
            self.connection.send(CaptionRequest(number, path, kind, plan, prompt, GenerationOptions(**options)))


@contextmanager
def connected(url, at_once=2, model="", key=""):
    near, far = multiprocessing.Pipe()

    def work():
        asyncio.run(EndpointWorker(far, ModelSpec(model, url, batch_size=at_once), key, 1).run())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield Client(near)
    finally:
        near.send(None)
        thread.join(10)
        near.close()
    assert not thread.is_alive()


def report_of(ready):
    return dict(ready.report.rows), [text for label, text in ready.report.rows if label == "note"]


PASSING = ["429", "500", "html", "json", "nothing", "shape", "half", "abort", "stall", "error", "words", "zipped"]


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_costs_nothing_but_time(clip, fault):
    with running(FakeServer()) as url, connected(url) as client:
        client.ask(clip, f"{fault} once")
        answer = client.wait(Answer)
        assert isinstance(answer, Finished), answer
        assert (answer.caption.text, answer.caption.model, answer.caption.device) == (CAPTION, "toy", url)


FAILURES = {
    "500": "the server failed (HTTP 500: out of luck), 4 times",
    "html": "the server failed (HTTP 502: <html>Bad gateway</html>), 4 times",
    "json": "the server's answer is not in the OpenAI format, 4 times",
    "shape": "the server's answer is not in the OpenAI format, 4 times",
    "half": "the server's answer ends in the middle, 4 times",
    "abort": "the server's answer ends in the middle, 4 times",
    "stall": "the server stopped in the middle of an answer, 4 times",
    "error": "the server reports an error: the engine died, 4 times",
    "words": "the server reports an error: Model unloaded., 4 times",
    "inside": "the server refused the request (400: exceeds the context size)",
    "zipped": "the server's answer is compressed, although it was asked not to, 4 times",
    "long": "the server sent much more text than max_new_tokens allows",
    "line": "the server's answer is larger than 32 MB",
    "drop": "the server dropped or shrank some of the 8 frames (its prompt has 122 tokens, the frames need 162); "
    "lower max_frames or frame_size",
    "endless": "the model used all its tokens for thinking; raise max_new_tokens or choose a model that does not think",
    "key": "the server's answer contains its key",
    "400": "the server refused the request (HTTP 400: no: Bearer [hidden])",
}


@pytest.mark.parametrize("fault", FAILURES)
def test_a_fault_that_stays_fails_its_file_with_one_line_and_no_other(clip, fault, monkeypatch):
    monkeypatch.setenv("CAPTIONER_SERVER_KEY", KEY)
    with running(FakeServer(key=KEY)) as url, connected(url, key=KEY) as client:
        client.ask(clip, f"{fault} always", "fine thanks")
        answers = {answer.id: answer for answer in client.wait(Answer, count=2)}
        assert answers[1] == Failed(1, FAILURES[fault])
        assert answers[2].caption.text == CAPTION
    assert KEY not in repr(client.seen)


def test_a_stream_that_leaves_out_fields_is_read(clip):
    server = FakeServer()
    with running(server) as url, connected(url) as client:
        client.ask(clip, "nulls always")
        assert client.wait(Answer).caption.text == CAPTION
    assert server.tries["nulls always"] == 1


def test_retry_after_holds_back_all_requests(clip):
    server = FakeServer()
    with running(server) as url, connected(url, at_once=1) as client:
        client.ask(clip, "429 once", "fine thanks")
        started_s = time.monotonic()
        client.wait(Finished, count=2)
        assert time.monotonic() - started_s >= 1
    assert server.tries["429 once"] == 2


@pytest.mark.parametrize(
    ("server", "spec", "reason"),
    [
        (FakeServer(models=("a", "b")), {}, "choose a model with --model: the server has a, b"),
        (FakeServer(models=("a", "b")), {"model": "c"}, "the server has no model c; it has a, b"),
        (FakeServer(models=()), {}, "the server has no model"),
        (FakeServer(key=KEY), {}, "the server refuses the key (HTTP 401: Incorrect API key provided: none)"),
        (
            FakeServer(redirects_to="http://203.0.113.9:81/v1/models?token=abc"),
            {},
            "the server redirects to http://203.0.113.9:81, which is not followed; use that address if you trust it",
        ),
    ],
)
def test_a_server_that_cannot_be_used_is_lost_for_good_with_one_line(server, spec, reason):
    with running(server) as url, connected(url, **spec) as client:
        assert client.wait(Lost) == Lost(reason, final=True)


def test_a_server_that_still_loads_its_model_is_waited_for(clip):
    server = FakeServer(fails_until_s=time.monotonic() + 3 * endpoint_worker.START_PATIENCE_S)
    with running(server) as url, connected(url) as client:
        client.ask(clip, "fine thanks")
        assert client.wait(Answer).caption.text == CAPTION


def test_a_server_that_fails_at_the_start_is_tried_again_later(clip):
    server = FakeServer(fails_until_s=time.monotonic() + 60, failure="no upstream")
    with running(server) as url, connected(url) as client:
        assert client.wait(Lost) == Lost("the server failed (HTTP 503: no upstream)")


def test_nobody_at_the_address_is_said_soon():
    with connected("http://127.0.0.1:9/v1") as client:
        lost = client.wait(Lost)
    assert lost.reason.startswith("the server cannot be reached (")
    assert not lost.final


def test_a_redirect_to_another_host_is_not_followed(clip, monkeypatch):
    server = FakeServer(key=KEY)
    with running(server) as url, connected(url, key=KEY) as client:
        client.ask(clip, "elsewhere always")
        assert isinstance(client.wait(Answer), Cancelled)  # given back
    assert "which is not followed" in repr(client.seen)


def test_a_server_that_goes_away_gives_its_work_back_and_is_used_when_it_returns(clip):
    server = FakeServer()
    with running(server) as url:
        client_of = connected(url)
        client = client_of.__enter__()
        client.wait(Ready)
        client.ask(clip, *["slow always"] * 5)
        client.wait(TokensSoFar)
    try:
        ready, *given_back = client.wait(Ready, Answer, count=6)
        assert ready.capacity == 0  # before the work comes back, so that it goes elsewhere
        assert "it is tried again" in report_of(ready)[1][-1]
        assert given_back == [Cancelled(number) for number in range(1, 6)]
        client.ask(clip, "fine thanks", first=6)
        assert client.wait(Answer) == Cancelled(6)
        server.fails_until_s, server.failure = time.monotonic() + 0.3, "a proxy before a server that is not there"
        with running(server, int(url.split(":")[2].removesuffix("/v1"))):
            assert client.wait(Ready).capacity > 0
            client.ask(clip, "fine thanks", first=7)
            assert client.wait(Answer).caption.text == CAPTION
    finally:
        client_of.__exit__(None, None, None)


def test_a_cancel_closes_the_connection_at_once(clip):
    server = FakeServer()
    with running(server) as url, connected(url) as client:
        client.ask(clip, "slow always")
        client.wait(TokensSoFar)
        client.connection.send(1)
        assert client.wait(Answer, timeout_s=1.0) == Cancelled(1)
        deadline = time.monotonic() + 2
        while server.at_once and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (server.at_once, server.disconnects) == (0, 1)


@pytest.mark.parametrize(
    ("server", "form", "notes"),
    [
        (FakeServer(form="frames"), "our frames with their times", []),
        (
            FakeServer(form="video", refuses_vllm_kwargs=True),
            "a video of our frames, whose times the server reads; more than 2 frames a second travel as images",
            ["start vLLM with --trust-request-mm-kwargs to send the times of the frames as well"],
        ),
        (FakeServer(), "our frames as images, each after its time as text", []),
        (
            FakeServer(refused_fields=("top_k", "repetition_penalty", "media_io_kwargs", "max_tokens")),
            "our frames as images, each after its time as text",
            ["the server takes no repetition_penalty, top_k"],
        ),
    ],
)
def test_the_form_of_clips_is_found_and_told(clip, server, form, notes):
    with running(server) as url, connected(url) as client:
        rows, told = report_of(client.wait(Ready))
        assert (rows["clips"], told) == (form, notes)
        client.ask(clip, "fine thanks", temperature=0.5, top_k=7, seed=3)
        assert client.wait(Answer).caption.text == CAPTION
        client.ask(clip.with_name("still 01.png"), "fine thanks", first=2)
        assert client.wait(Answer).caption.text == CAPTION
    assert (server.bodies[0]["temperature"], server.bodies[0]["seed"]) == (0.5, 3)
    assert [part["type"] for part in server.bodies[1]["messages"][0]["content"]] == ["image_url", "text"]


def test_what_may_be_ignored_is_told_once(clip):
    with running(FakeServer(reports_usage=False)) as url, connected(url) as client:
        client.ask(clip, "fine thanks", top_k=7)
        assert client.wait(Finished).caption.num_tokens == 9
        client.ask(clip, "fine thanks", first=2, top_k=7)
        client.wait(Finished)
        while len(notes := report_of([event for event in client.seen if isinstance(event, Ready)][-1])[1]) < 2:
            client.wait(Ready)
    assert notes == [
        "the server reports no token counts, so frames that it drops cannot be noticed",
        "not every server uses top_k; this one may ignore it",
    ]


@pytest.mark.parametrize(
    ("prompt", "text", "thinking"), [("think well", CAPTION, "a ball"), ("reason well", "A ball.", "I see a ball.")]
)
def test_thinking_is_kept_beside_the_caption(clip, prompt, text, thinking):
    server = FakeServer()
    with running(server) as url, connected(url) as client:
        client.ask(clip, prompt, thinking_budget=100)
        caption = client.wait(Answer).caption
    assert (caption.text.strip(), caption.thinking) == (text.strip(), thinking)
    assert server.bodies[0]["chat_template_kwargs"] == {"enable_thinking": True}
    assert server.bodies[0]["max_tokens"] > 612


def test_the_number_of_requests_follows_the_server(clip):
    server = FakeServer(token_s=0.02)
    with running(server) as url, connected(url, at_once=0) as client:
        client.ask(clip, *["fine thanks"] * 24)
        client.wait(Finished, count=24)
    assert tries.FIRST_LIMIT < server.most_at_once <= 24
    fixed = FakeServer(token_s=0.02)
    with running(fixed) as url, connected(url, at_once=3) as client:
        client.ask(clip, *["fine thanks"] * 9)
        client.wait(Finished, count=9)
    assert fixed.most_at_once == 3


SCORE = {"max_new_tokens": 1, "scores": True}


@pytest.mark.parametrize("lists_chosen", [True, False])
def test_scores_are_read_from_the_likeliest_tokens(clip, lists_chosen):
    """All forms of a word count; a word that is not among the likeliest tokens has the probability 0."""
    server, prompts = FakeServer(lists_chosen=lists_chosen), ("Does it show a ball?", "Does it show a cat?")
    with running(server) as url, connected(url) as client:
        client.wait(Ready)
        client.ask(clip, *prompts, **SCORE)
        answers = {event.id: event for event in client.wait(Scored, count=2)}
    assert [(answers[i].prompt, round(answers[i].yes, 6), round(answers[i].no, 6)) for i in (1, 2)] == [
        (prompts[0], 0.8, 0.1),
        (prompts[1], 0.05, 0.9),
    ]
    assert all((body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 20, 1) for body in server.bodies)


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (FakeServer(gives_logprobs=False), ""),
        (FakeServer(refused_fields=("logprobs",)), ": the server refused the request (HTTP 422: "),
    ],
)
def test_server_without_probabilities_gives_the_work_back_and_is_lost_with_one_line(clip, server, reason):
    with running(server) as url, connected(url) as client:
        client.wait(Ready)
        client.ask(clip, "Does it show a ball?", "Does it show a cat?", **SCORE)
        given_back = {event.id for event in client.wait(Cancelled, count=2)}
        lost = client.wait(Lost)
    assert given_back == {1, 2}
    line = "the server does not tell how likely its tokens are (logprobs), so it cannot score captions"
    assert lost.final
    assert lost.reason.startswith(line + reason)
    assert not [event for event in client.seen if isinstance(event, Failed | Finished | Scored)]
