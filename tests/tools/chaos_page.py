"""The page in the chaos runs: the real app.py in a process of its own, asked over HTTP for what its buttons ask for."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.support.pulse import pulse_request

ROOT = Path(__file__).resolve().parents[2]
ENDED = ("done", "failed", "stopped")
TIMEOUT_S = 240
RESUME = re.compile(r'data-run=\\*"resume\\*" data-job=\\*"(\d+)')


class Page:
    """A program that serves the page over a folder. `fast`: with workers that need no model."""

    def __init__(self, media: Path, state: Path, fast: bool) -> None:
        """Returns when it is served. Raises RuntimeError when it is not."""
        program = ["-m", "tests.tools.chaos_app", "--page"] if fast else ["app.py"]
        settings = {"CAPTIONER_MODEL": "demo", "CAPTIONER_DEVICES": "cpu,cpu" if fast else "cpu"}
        self.program = subprocess.Popen(
            [sys.executable, *program, "--state", str(state), str(media)],
            cwd=ROOT, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        found = re.search(r"http://\S+", self.program.stdout.readline())
        if not found:
            raise RuntimeError(self.program.communicate()[1])
        self._address = found[0]
        self._client = httpx.Client(base_url=self._address, timeout=TIMEOUT_S)

    def start(self) -> None:
        """Caption all files and append to the captions that are there."""
        self._ask("start", [None, "append"])

    def resume(self) -> bool:
        """Press the button for a run that was cut short; False if it is not there."""
        pulse = self._client.post("gradio_api/run/predict", json=pulse_request(self._address)(0)).json()
        offer = RESUME.search(pulse["data"][0])
        if offer:
            events = self._client.get("config").json()["dependencies"]
            number = next(event["id"] for event in events if event["api_name"] == "resume")
            body = {"data": [], "fn_index": number, "session_hash": "x", "event_data": {"job": offer[1]}}
            self._client.post("gradio_api/run/predict", json=body).raise_for_status()
        return offer is not None

    def end(self) -> None:
        """Wait for the end of the run, if there is one, and end the program as a service manager does."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while (status := self._ask("status", []))["stage"] not in (*ENDED, "idle") or status["queued_jobs"]:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"the run did not end: {status}")
            time.sleep(0.05)
        self.program.terminate()

    def close(self) -> None:
        self.program.kill()
        self._client.close()

    def _ask(self, endpoint: str, data: list) -> dict:
        answer = self._client.post(f"gradio_api/run/{endpoint}", json={"data": data, "session_hash": "x"})
        return answer.raise_for_status().json()["data"][0]
