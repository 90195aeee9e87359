"""Scores: how likely the model answers a question with yes, read from the logits behind the prompt.

This is VQAScore (Lin et al. 2024, "Evaluating Text-to-Visual Generation with Image-to-Text Generation", arXiv
2404.01291): the probability that an answer begins with "Yes", among all tokens of the vocabulary. Tokenizers have the
word several times, with and without a capital or a space before it. Which of them a model prefers says nothing about
the answer, so their probabilities are added up. Those of "no" are added up, too: where yes and no together are
unlikely, the model would say something else, and the score means little.
"""

import functools

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from captioner.errors import ModelError

ANSWERS = ("yes", "no")
SPACES = "Ġ▁ "  # what tokenizers write for a space before a word
AnswerIds = tuple[tuple[int, ...], ...]  # the tokens of each answer


def answer_ids(tokenizer: PreTrainedTokenizerBase) -> AnswerIds:
    """Return the tokens that are "yes", and those that are "no". Raise ModelError if there are none of them."""
    ids: dict[str, list[int]] = {answer: [] for answer in ANSWERS}
    for token, number in tokenizer.get_vocab().items():
        if (word := token.lstrip(SPACES).lower()) in ids:
            ids[word].append(number)
    for answer, found in ids.items():
        if not found:
            raise ModelError(f'the model cannot score captions: "{answer}" is not one token of its tokenizer')
    return tuple(tuple(sorted(found)) for found in ids.values())


def probabilities(logits: Tensor, ids: AnswerIds) -> Tensor:
    """Return the probability of each answer, float32 (B, answers), given logits (B, V) of any float dtype."""
    shares = logits.float().softmax(-1)
    known = [tuple(number for number in tokens if number < logits.shape[1]) for tokens in ids]
    return torch.stack([shares.index_select(1, _index(tokens, logits.device)).sum(1) for tokens in known], 1)


@functools.lru_cache(maxsize=16)  # a copy to a GPU would wait for all that it computes
def _index(tokens: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(tokens, dtype=torch.int64, device=device)
