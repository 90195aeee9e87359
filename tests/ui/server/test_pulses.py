"""Pulses of pages that show the same are computed once, and nonsense is refused."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from captioner.ui.server import pulses
from captioner.ui.server.pulses import SharedPulse
from captioner.ui.server.routes import PREFIX
from tests.support.pulse import pulse_request


def test_viewers_of_the_same_state_share_an_answer(monkeypatch):
    computed, app = [], FastAPI()
    monkeypatch.setattr(pulses, "SHARED_S", 1000.0)
    shared = SharedPulse(lambda *values: computed.append(values) or json.dumps(values))
    app.add_api_route("/pulse", shared.answer, methods=["POST"])
    with TestClient(app) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/pulse", json=["x", "1"]).json(), range(40)))
        assert (answers, computed) == ([["x", "1"]] * 40, [("x", "1")])
        client.post("/pulse", json=["y", "1"])
        monkeypatch.setattr(pulses, "SHARED_S", -1.0)
        client.post("/pulse", json=["x", "1"])
        assert computed == [("x", "1"), ("y", "1"), ("x", "1")]
        for number in range(2 * pulses.MAX_SHARED):
            client.post("/pulse", json=[number])
    assert len(shared._answers) <= pulses.MAX_SHARED


def test_a_pulse_says_the_same_as_gradio_does(web, user):
    values = pulse_request(f"{web.address}/", user)(1)["data"]
    answer = user.post(f"{PREFIX}/pulse", json=values)
    assert answer.status_code == 200
    again = json.loads(answer.text)["cursor"]
    assert json.loads(answer.text)["values"]
    later = user.post(f"{PREFIX}/pulse", json=[again, *values[1:]])
    assert later.status_code == 200


@pytest.mark.parametrize("body", [b"", b"{}", b"[[]]", b"null", b"[1", b"[" * 100_000, b"[]", b'["", "x"]', b"\xff"])
def test_nonsense_is_refused(user, body):
    answer = user.post(f"{PREFIX}/pulse", content=body)
    assert answer.status_code == 422
    assert "Traceback" not in answer.text


def test_a_pulse_needs_the_login(web):
    assert httpx.post(f"{web.address}{PREFIX}/pulse", json=[]).status_code == 401
