"""Sampling of the next tokens. A row never depends on the other rows in the batch."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import LogitsProcessor

from captioner.engine.answer import AnswerTokens
from captioner.engine.prepare import Prepared
from captioner.engine.rows import upload
from captioner.engine.scoring import probabilities
from captioner.values import GenerationOptions

# The constants of splitmix64 (Steele, Lea, Flood 2014) as signed 64-bit numbers.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64), (31, 1))


class Sampling(NamedTuple):
    """The options that decide how a token is drawn; rows that share them are drawn together."""

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    presence_penalty: float = 0.0

    @classmethod
    def of(cls, options: GenerationOptions) -> "Sampling":
        penalties = options.repetition_penalty, options.presence_penalty
        return cls(options.temperature, options.top_p, options.top_k, *penalties)

    @property
    def penalizes(self) -> bool:
        """True if it matters which tokens were generated."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0


def pick_tokens(logits: Tensor, kinds: Sequence[Sampling], draws: Tensor, seen: Tensor | None = None) -> Tensor:
    """Pick the next token of each row: logits (B, V) of any float dtype -> int64 (B,).

    draws int64 (2, B): the seed of each row, and how many tokens it has; seen (B, V) bool marks the tokens that each
    row has generated, without the prompt, so trigger words are never penalized; only penalties need it. The order is as
    in transformers: repetition penalty (Keskar et al. 2019, CTRL), presence penalty (as OpenAI and vLLM define it),
    temperature, top-k, top-p; then the Gumbel-max trick draws a token.
    """
    if kinds.count(kinds[0]) == len(kinds):
        return _pick_alike(logits.float(), draws, seen, kinds[0])
    groups: dict[Sampling, list[int]] = {}
    for row, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(row)
    tokens = torch.empty(len(kinds), dtype=torch.int64, device=logits.device)
    order = upload(torch.tensor([row for rows in groups.values() for row in rows]), logits.device)
    for kind, index in zip(groups, order.split([len(rows) for rows in groups.values()]), strict=True):
        own_seen = None if seen is None else seen[index]
        tokens[index] = _pick_alike(logits[index].float(), draws[:, index], own_seen, kind)
    return tokens


def _pick_alike(logits: Tensor, draws: Tensor, seen: Tensor | None, kind: Sampling) -> Tensor:
    """Pick tokens for rows (B, V) float32 that share their options."""
    if kind.penalizes and seen is not None:
        penalty = kind.repetition_penalty
        penalized = torch.where(logits > 0, logits / penalty, logits * penalty) - kind.presence_penalty
        logits = torch.where(seen, penalized, logits)
    if kind.temperature == 0:
        return logits.argmax(-1)
    num_candidates = min(kind.top_k or logits.shape[1], logits.shape[1])
    values, tokens = (logits / kind.temperature).topk(num_candidates)
    if kind.top_p < 1:
        before = values.softmax(-1).cumsum(-1).roll(1, -1)
        before[:, 0] = 0  # the most likely token always stays
        values = values.masked_fill(before >= kind.top_p, -math.inf)
    noise = -torch.log(-torch.log(uniform(draws, num_candidates)))
    return tokens.gather(1, (values + noise).argmax(-1, keepdim=True))[:, 0]


def uniform(draws: Tensor, num: int) -> Tensor:
    """Return (B, num) float32 in (0, 1), equal on every device: a hash of seed, token index (2, B) and column."""
    rows = _mix(_mix(draws[0] + _GOLDEN) + _GOLDEN * (draws[1] + 1))
    columns = torch.arange(1, num + 1, device=draws.device) * _GOLDEN
    bits = _shift_right(_mix(rows[:, None] + columns), 41)  # 23 bits, so that adding 0.5 is exact
    return (bits.float() + 0.5) / 2**23


def _mix(x: Tensor) -> Tensor:  # int64
    for shift, factor in _MIX:
        x = (x ^ _shift_right(x, shift)) * factor
    return x


def _shift_right(x: Tensor, num_bits: int) -> Tensor:  # int64 as if it were unsigned
    return (x >> num_bits) & ((1 << (64 - num_bits)) - 1)


class PerRowSampling(LogitsProcessor):
    """Makes `generate` use each row's own options: other tokens get -inf, so greedy search takes the picked one."""

    def __init__(self, requests: list[Prepared], answers: list[AnswerTokens], prompt_length: int) -> None:
        self._kinds = [Sampling.of(each.options) for each in requests]
        self._requests, self._answers, self._prompt_length = requests, answers, prompt_length
        self._seeds = torch.tensor([each.options.seed for each in requests])

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # int64 (B, L), (B, V) -> (B, V)
        generated = input_ids[:, self._prompt_length :]
        if not generated.shape[1]:
            self._score(scores)
        seen = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, generated, True)
        for row, answer in enumerate(self._answers):
            if answer.caption_start:
                seen[row] = False
                seen[row, generated[row, answer.caption_start :]] = True
        draws = torch.stack([self._seeds, torch.full_like(self._seeds, generated.shape[1])]).to(scores.device)
        picks = pick_tokens(scores, self._kinds, draws, seen).tolist()
        chosen = [answer.choose(token) for answer, token in zip(self._answers, picks, strict=True)]
        index = torch.tensor(chosen, device=scores.device)[:, None]
        return torch.full_like(scores, -math.inf).scatter_(1, index, 0.0)

    def _score(self, logits: Tensor) -> None:
        for row, (request, answer) in enumerate(zip(self._requests, self._answers, strict=True)):
            if request.options.scores:
                answer.probabilities = tuple(probabilities(logits[row : row + 1], request.answer_ids)[0].tolist())
