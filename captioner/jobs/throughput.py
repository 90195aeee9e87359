"""How fast runs were, kept in the database: what the time of the next one is estimated from."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from captioner.errors import StateError
from captioner.system.database import Database
from captioner.values import Caption, ModelSpec, SamplePlan

log = logging.getLogger(__name__)

RUNS_LOOKED_AT = 50
RUNS_AVERAGED = 5


@dataclass(frozen=True)
class Throughput:
    """What a model did on some devices. Tokens are those of prompts, frames included, and of captions together."""

    tokens_per_s: float
    new_tokens_per_caption: float
    num_captions: int  # that this was measured over


@dataclass
class Meter:
    """Adds up what one run reads and writes, from its first request to its last caption: loading is not in it."""

    num_captions: int = 0
    num_prompt_tokens: int = 0
    num_tokens: int = 0
    _started_s: float = 0.0  # monotonic, as is the next
    _ended_s: float = 0.0

    def start(self) -> None:
        """At each request; only the first counts."""
        self._started_s = self._started_s or time.monotonic()

    def add(self, caption: Caption) -> None:
        self.num_captions += 1
        self.num_prompt_tokens += caption.num_prompt_tokens
        self.num_tokens += caption.num_tokens
        self._ended_s = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._ended_s - self._started_s


class SpeedStore:
    """Any thread may call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, specs: Sequence[ModelSpec], plan: SamplePlan, meter: Meter) -> None:
        """Keep what a run did, if it did anything. A failure to do so is logged: the captions are safe."""
        if not meter.num_captions or meter.seconds <= 0:
            return
        sql = (
            "INSERT INTO runs (model, quantization, devices, plan_json, num_captions, num_prompt_tokens, num_tokens, "
            "seconds, created_at_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        counts = (meter.num_captions, meter.num_prompt_tokens, meter.num_tokens, meter.seconds)
        try:
            self._database.execute(sql, (*_key(specs), _json(plan), *counts, time.time()))
        except StateError as error:
            log.warning("the speed of this run is not recorded: %s", error)

    def throughput(self, specs: Sequence[ModelSpec], plan: SamplePlan) -> Throughput | None:
        """Of this model on these devices: over its latest runs with the same plan, or else with any; None without one.

        Raises StateError.
        """
        sql = "SELECT * FROM runs WHERE model = ? AND quantization = ? AND devices = ? ORDER BY id DESC LIMIT ?"
        rows = self._database.rows(sql, (*_key(specs), RUNS_LOOKED_AT))
        rows = ([row for row in rows if row["plan_json"] == _json(plan)] or rows)[:RUNS_AVERAGED]
        if not rows:
            return None
        captions, new = (sum(row[name] for row in rows) for name in ("num_captions", "num_tokens"))
        tokens = new + sum(row["num_prompt_tokens"] for row in rows)
        return Throughput(tokens / sum(row["seconds"] for row in rows), new / captions, captions)


def _key(specs: Sequence[ModelSpec]) -> tuple[str, str, str]:
    return specs[0].source, specs[0].quantization, ",".join(spec.device for spec in specs)


def _json(plan: SamplePlan) -> str:
    return json.dumps(asdict(plan), sort_keys=True)
