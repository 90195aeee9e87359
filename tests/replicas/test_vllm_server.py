"""A real vLLM server with the demo model; see docs/remote.md for its start.

VLLM_URL=http://127.0.0.1:7866 pytest tests/replicas/test_vllm_server.py. VLLM_WITHOUT_TRUST=1 if the server was started
without --trust-request-mm-kwargs, so that clips travel as videos.
"""

import asyncio
import os
import re
import time

import httpx
import pytest
from transformers import AutoProcessor

from captioner.cli.bench.models import DEMO_FOLDER
from captioner.demo.clips import write_samples
from captioner.engine.prepare import Preparer
from captioner.media.sample import sample
from captioner.replicas.clip_message import write_message
from captioner.replicas.endpoint import EndpointReplica
from captioner.replicas.process import ProcessReplica
from captioner.replicas.protocol import Answer, Finished
from captioner.replicas.server import ModelServer
from captioner.system.endpoints import parse_endpoint
from captioner.values import CaptionRequest, GenerationOptions, ModelSpec, SamplePlan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("VLLM_URL" not in os.environ, reason="VLLM_URL names no running vLLM server"),
]
URL = parse_endpoint(os.environ.get("VLLM_URL", "http://127.0.0.1:7866")).url
IS_TRUSTING = "VLLM_WITHOUT_TRUST" not in os.environ
# without the flag it takes two frames a second
NUM_FRAMES = (8, 48) if IS_TRUSTING else (4,)
PLAN = SamplePlan(max_frames=NUM_FRAMES[0], min_frames=NUM_FRAMES[0], frame_size=128)
PROMPT = "Describe this video in one detailed paragraph."
NUM_CLIPS = 60
SECONDS = re.compile(r"<([0-9.]+) seconds>")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_samples(folder, num_clips=NUM_CLIPS, num_stills=0)
    return sorted(path for path in folder.glob("clip *") if path.suffix != ".txt")


def captions(replica, clips, plan=PLAN):
    """Return the caption of each clip."""
    options = GenerationOptions(max_new_tokens=64)
    for number, clip in enumerate(clips):
        replica.submit(CaptionRequest(number, clip, "video", plan, PROMPT, options))
    answers, deadline = {}, time.monotonic() + 600
    while len(answers) < len(clips) and time.monotonic() < deadline:
        answers |= {event.id: event for event in replica.events(0.5) if isinstance(event, Answer)}
    replica.close()
    assert all(isinstance(answer, Finished) for answer in answers.values()), answers
    return [answers[number].caption for number in range(len(clips))]


def test_captions_are_those_of_our_own_engine(clips):
    assert len(clips) == NUM_CLIPS
    ours = captions(ProcessReplica("cpu", ModelSpec(str(DEMO_FOLDER), "cpu"), DEMO_FOLDER, 1), clips)
    theirs = captions(EndpointReplica(URL, ModelSpec("", URL, batch_size=4), DEMO_FOLDER, 1), clips)
    same = sum(our.text.strip() == their.text.strip() for our, their in zip(ours, theirs, strict=True))
    tokens = sum(our.num_prompt_tokens == their.num_prompt_tokens for our, their in zip(ours, theirs, strict=True))
    print(f"{same} of {NUM_CLIPS} captions and {tokens} prompt lengths are equal")
    assert same >= 0.95 * NUM_CLIPS
    assert tokens == NUM_CLIPS


@pytest.mark.parametrize("num_frames", NUM_FRAMES)
def test_frames_and_seconds_arrive_in_the_prompt(clips, num_frames):
    frames = sample(clips[0], SamplePlan(max_frames=num_frames, min_frames=num_frames, frame_size=128))
    assert len(frames.pixels) == num_frames

    async def model() -> tuple[str, str]:
        server = ModelServer(ModelSpec("", URL), "")
        await server.connect()
        return server.model, server.writer.form

    name, form = asyncio.run(model())
    assert form == ("frames" if IS_TRUSTING else "video")
    message = write_message(frames, PROMPT, form)
    messages = [{"role": "user", "content": message.content}]
    body = {"model": name, "messages": messages, "max_tokens": 1, "return_token_ids": True, **message.extra}
    theirs = httpx.post(f"{URL}/chat/completions", json=body, timeout=60).json()["prompt_token_ids"]
    processor = AutoProcessor.from_pretrained(DEMO_FOLDER)
    prepared = Preparer(processor).prepare(0, frames, PROMPT, GenerationOptions())
    ours = prepared.inputs["input_ids"][0].tolist()
    theirs, ours = (processor.tokenizer.decode(ids) for ids in (theirs, ours))
    if IS_TRUSTING:
        assert theirs == ours
        return
    seconds = [[float(time) for time in SECONDS.findall(text)] for text in (theirs, ours)]
    assert seconds[0] == pytest.approx(seconds[1], abs=0.11)  # from the mean rate, and rounded
    assert SECONDS.sub("", theirs) == SECONDS.sub("", ours)
