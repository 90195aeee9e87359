"""How fast earlier jobs were, kept in the database: the time of the next job is estimated from it."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from captioner.errors import StateError
from captioner.system.database import Database
from captioner.values import Caption, ModelSpec, SamplePlan

log = logging.getLogger(__name__)

MAX_JOBS_READ = 50
MAX_JOBS_AVERAGED = 5


@dataclass(frozen=True)
class Throughput:
    """The measured speed of a model on some devices."""

    tokens_per_s: float  # of prompts, frames included, and captions together
    new_tokens_per_caption: float
    num_captions: int  # measured


@dataclass
class Meter:
    """Counts the tokens of one job, and its time from the first request to the last caption, without loading."""

    num_captions: int = 0
    num_prompt_tokens: int = 0
    num_tokens: int = 0
    _started_s: float = 0.0  # monotonic
    _ended_s: float = 0.0  # monotonic

    def start(self) -> None:
        """Start the clock; to be called at each request, only the first counts."""
        self._started_s = self._started_s or time.monotonic()

    def add(self, caption: Caption, is_second: bool = False) -> None:
        """Count the tokens of a finished caption; a second try for a file is no further caption."""
        self.num_captions += not is_second
        self.num_prompt_tokens += caption.num_prompt_tokens
        self.num_tokens += caption.num_tokens
        self._ended_s = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._ended_s - self._started_s


class SpeedStore:
    """Keeps the speeds of jobs. Any thread may call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, specs: Sequence[ModelSpec], plan: SamplePlan, meter: Meter) -> None:
        """Record the speed of a job that captioned anything. A failure is only logged; the captions are safe."""
        if not meter.num_captions or meter.seconds <= 0:
            return
        sql = """INSERT INTO runs (model, quantization, devices, plan_json, num_captions, num_prompt_tokens, num_tokens,
            seconds, created_at_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
        counts = (meter.num_captions, meter.num_prompt_tokens, meter.num_tokens, meter.seconds)
        try:
            self._database.execute(sql, (*_key(specs), _json(plan), *counts, time.time()))
        except StateError as error:
            log.warning("the speed of this job is not recorded: %s", error)

    def throughput(self, specs: Sequence[ModelSpec], plan: SamplePlan) -> Throughput | None:
        """Return the speed of a model on these devices over its latest jobs; None if there were none.

        Jobs with the same plan are preferred to others. Raise StateError if the database cannot be read.
        """
        sql = "SELECT * FROM runs WHERE model = ? AND quantization = ? AND devices = ? ORDER BY id DESC LIMIT ?"
        rows = self._database.rows(sql, (*_key(specs), MAX_JOBS_READ))
        rows = ([row for row in rows if row["plan_json"] == _json(plan)] or rows)[:MAX_JOBS_AVERAGED]
        if not rows:
            return None
        captions, new = (sum(row[name] for row in rows) for name in ("num_captions", "num_tokens"))
        tokens = new + sum(row["num_prompt_tokens"] for row in rows)
        return Throughput(tokens / sum(row["seconds"] for row in rows), new / captions, captions)


def _key(specs: Sequence[ModelSpec]) -> tuple[str, str, str]:
    return specs[0].source, specs[0].quantization, ",".join(spec.device for spec in specs)


def _json(plan: SamplePlan) -> str:
    return json.dumps(asdict(plan), sort_keys=True)
