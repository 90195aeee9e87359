"""Choosing the next token, row by row, such that a row never depends on which others share the batch."""

import math

import torch
from torch import Tensor
from transformers import LogitsProcessor

from captioner.values import GenerationOptions


class RowSampler:
    """Picks the tokens of one caption; keeps its own random state, so the seed alone decides the draw."""

    def __init__(self, options: GenerationOptions, device: torch.device) -> None:
        self.options = options
        self._random = torch.Generator(device).manual_seed(options.seed)

    def pick(self, logits: Tensor, generated: Tensor) -> Tensor:
        """logits (V,) and the tokens so far (N,) int64 -> the next token, shape ().

        Order as in transformers: repetition penalty (Keskar et al. 2019, CTRL), temperature, top-k, top-p. The penalty
        covers generated tokens only: words of the prompt, trigger words among them, are never punished.
        Sampling is by the Gumbel-max trick over the tokens that are left.
        """
        options = self.options
        logits = logits.float()
        if options.repetition_penalty != 1 and len(generated):
            seen = generated.unique()
            values = logits[seen]
            penalty = options.repetition_penalty
            logits = logits.index_copy(0, seen, torch.where(values > 0, values / penalty, values * penalty))
        if options.temperature == 0:
            return logits.argmax()
        limit = min(options.top_k or len(logits), len(logits))
        values, tokens = (logits / options.temperature).topk(limit)
        if options.top_p < 1:
            before = values.softmax(-1).cumsum(-1).roll(1)
            before[0] = 0  # the most likely token always stays
            values = values.masked_fill(before >= options.top_p, -math.inf)
        uniform = torch.rand(limit, generator=self._random, device=logits.device)
        noise = -torch.log(-torch.log(uniform.clamp_(1e-20, 1 - 1e-7)))
        return tokens[(values + noise).argmax()]


class PerRowSampling(LogitsProcessor):
    """Lets `generate` take each row's own choice: all other tokens get -inf, so its greedy search picks that one."""

    def __init__(self, samplers: list[RowSampler], prompt_length: int) -> None:
        self._samplers, self._prompt_length = samplers, prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """input_ids (B, L) int64, scores (B, V) -> scores with one finite entry a row."""
        generated = input_ids[:, self._prompt_length :]
        rows = zip(self._samplers, scores, generated, strict=True)
        picks = torch.stack([sampler.pick(row, tokens) for sampler, row, tokens in rows])
        return torch.full_like(scores, -math.inf).scatter_(1, picks[:, None], 0.0)
