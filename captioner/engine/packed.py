"""Run a model's unmodified modules over many requests packed into one sequence.

Only this module and `families` depend on the structure of the models in transformers, the same in 5.17 to 5.24.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from captioner.engine.attention import TEXT_ATTENTION, VISION_ATTENTION, TextStep, VisionStep
from captioner.engine.attention_backends import Segments, pick_backend
from captioner.engine.cache import SlotCache
from captioner.engine.families import family_of
from captioner.engine.linear_attention import PackedLinear, commit
from captioner.engine.linear_kernels import pick_kernels
from captioner.engine.prepare import PIXELS, Prepared
from captioner.engine.sage import with_sage

GRIDS = ("image_grid_thw", "video_grid_thw")


class PackedModel:
    """Replaces the attention of both towers until release(); `generate` on the same model fails until then."""

    def __init__(self, model: PreTrainedModel, attention: str = "auto", sage: bool = False) -> None:
        self.device, self.dtype = model.device, model.dtype
        self.config = model.config.text_config
        self._vision_config = model.config.vision_config
        self._core, self._head = model.model, model.lm_head
        family = family_of(model)
        assert family is not None  # why_unsupported() says so
        self._family, self.slot_shape = family, family.slot_shape(self.config)
        self._before = (self.config._attn_implementation, self._vision_config._attn_implementation)
        text, vision = self.config, self._vision_config
        shape = (text.num_attention_heads, text.num_key_value_heads, text.head_dim)
        self.backend, self.backend_note = pick_backend(self.device, self.dtype, *shape, attention)
        self.sage_note = "off"
        if sage:
            self.backend, self.sage_note = with_sage(self.backend, self.device, self.dtype, *shape)
        vision_shape = (vision.num_heads, vision.num_heads, vision.hidden_size // vision.num_heads)
        self.vision_backend, self.vision_note = pick_backend(self.device, self.dtype, *vision_shape, attention)
        self.config._attn_implementation = TEXT_ATTENTION
        self._vision_config._attn_implementation = VISION_ATTENTION
        layers = family.linear_layers(self._core.language_model)
        self._linear_note = pick_kernels(layers[0]) if layers else ""
        self._linear = [PackedLinear(layer) for layer in layers]

    def release(self) -> None:
        """Restore the attention that the model had before."""
        while self._linear:
            self._linear.pop().release()
        self.config._attn_implementation, self._vision_config._attn_implementation = self._before

    def report_rows(self) -> tuple[tuple[str, str], ...]:
        """Return the rows of the capability report about attention."""
        text = self.backend.name + (f" ({self.backend_note})" if self.backend_note else "")
        vision = self.vision_backend.name + (f" ({self.vision_note})" if self.vision_note else "")
        rows = ("attention", text), ("vision attention", vision), ("SageAttention", self.sage_note)
        return (*rows, ("linear attention", self._linear_note)) if self._linear_note else rows

    def layout(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute on the CPU, in any thread, what the towers need besides the processor's tensors.

        positions int64 (3, L) of the prompt, offset int64 () from a later token's index to its position; for the vision
        tower grid int64 (n, 3), patch_positions, taps and weights.
        """
        grids = {name: inputs[name] for name in GRIDS if name in inputs}
        positions, offset = self._core.get_rope_index(inputs["input_ids"], inputs["mm_token_type_ids"], **grids)
        grid = torch.cat(list(grids.values()))
        visual, merge = self._core.visual, self._vision_config.spatial_merge_size
        taps, weights = get_vision_interpolation_indices_and_weights(
            grid, num_grid_per_side=visual.num_grid_per_side, mode=visual.interpolation_mode,
            align_corners=visual.interpolation_align_corners, spatial_merge_size=merge,
        )  # fmt: skip
        patch_positions = get_vision_position_ids(grid, merge)
        vision = {"grid": grid, "patch_positions": patch_positions, "taps": taps, "weights": weights}
        return {"positions": positions[:, 0], "offset": offset[0, 0]} | vision

    def _embed(self, tokens: Tensor) -> Tensor:  # int64 (N,) -> (1, N, hidden)
        return self._core.language_model.embed_tokens(tokens)[None]

    def _encode_vision(self, requests: Sequence[Prepared]) -> tuple[Tensor, list[Tensor] | None]:
        """Return an embedding of each visual token (V, hidden), and those that DeepStack adds to the first layers."""
        patches = []
        for request in requests:
            pixels = next(request.inputs[name] for name in PIXELS if name in request.inputs)
            pixels = pixels.to(self.device, non_blocking=True)
            patches.append((request.scale.apply(pixels) if request.scale else pixels).to(self.dtype))
        grid = torch.cat([request.layout["grid"] for request in requests])
        lengths = [height * width for time, height, width in grid.tolist() for _ in range(time)]
        frames = Segments.from_lengths(lengths, self.device)

        def join(name: str) -> Tensor:
            return torch.cat([request.layout[name] for request in requests]).to(self.device, non_blocking=True)

        encoded = self._core.visual(
            torch.cat(patches),
            grid_thw=grid,
            cu_seqlens=frames.bounds,
            max_seqlen=frames.longest,
            position_ids=join("patch_positions"),
            interp_indices=join("taps"),
            interp_weights=join("weights"),
            vision_step=VisionStep(self.vision_backend, frames),
            return_dict=True,
        )
        return encoded.pooler_output, self._family.deepstack(encoded)

    def _run_text(
        self, embeds: Tensor, positions: Tensor, step: TextStep,
        visual_mask: Tensor | None = None, deepstack: list[Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """Run the text tower: embeds (1, N, hidden), positions (3, N), visual_mask bool (1, N) -> (N, hidden)."""
        hidden = self._core.language_model(
            inputs_embeds=embeds,
            position_ids=positions[:, None],
            use_cache=False,
            text_step=step,
            **self._family.text_inputs(visual_mask, deepstack),
        ).last_hidden_state[0]
        commit(step)
        return hidden

    def decode(self, rows: Tensor, cache: SlotCache, num_slots: int, longest: int) -> Tensor:
        """Run one more token of each row and return logits (B, V).

        rows int64 (4, B): token, position, slot, tokens in the slot. num_slots and longest are upper bounds of slots
        and lengths with the new token. A graph can capture it: no waiting for the device, no shape depends on values.
        """
        tokens, positions, slots, lengths = rows.unbind()
        plan = self.backend.plan_rows(cache, slots, lengths + 1, num_slots, longest)
        step = TextStep(cache, self.backend, slots * cache.slot_tokens + lengths, None, plan, row_slots=slots)
        return self._head(self._run_text(self._embed(tokens), positions.expand(3, -1), step))

    def mixed(self, new: Sequence[Prepared], slots: list[int], rows: Tensor, cache: SlotCache, longest: int) -> Tensor:
        """Run the whole prompts of `new` into `slots` and one more token of each row, in one pass.

        rows int64 (4, B) is as in decode() but on the host, and B may be 0. Returns logits (len(new) + B, V).
        """
        lengths = [request.num_prompt_tokens for request in new]
        ends = list(itertools.accumulate(lengths))
        tokens = torch.cat([*(request.inputs["input_ids"][0] for request in new), rows[0]])
        positions = torch.cat([*(request.layout["positions"] for request in new), rows[1].expand(3, -1)], 1)
        starts = [slot * cache.slot_tokens for slot in slots]
        prompts = [torch.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        write = torch.cat([*prompts, rows[2] * cache.slot_tokens + rows[3]])
        last = torch.tensor([end - 1 for end in ends] + list(range(ends[-1], len(tokens))))
        no_visual = torch.zeros_like(rows[0], dtype=torch.bool)
        visual_mask = torch.cat([*(request.inputs["mm_token_type_ids"][0] > 0 for request in new), no_visual])
        places = visual_mask.nonzero()[:, 0]
        tokens, positions, write, last, places, on_device = (
            x.to(self.device, non_blocking=True) for x in (tokens, positions, write, last, places, rows)
        )
        visual, deepstack = self._encode_vision(new)
        embeds = self._embed(tokens)
        embeds[0].index_copy_(0, places, visual.to(embeds.dtype))
        plan, row_slots = None, None
        if rows.shape[1]:
            row_slots = on_device[2]
            num_slots = int(rows[2].max()) + 1
            plan = self.backend.plan_rows(cache, row_slots, on_device[3] + 1, num_slots, longest)
        segments, prompt_slots = Segments.from_lengths(lengths, self.device), tuple(zip(slots, lengths, strict=True))
        step = TextStep(cache, self.backend, write, segments, plan, prompt_slots, row_slots)
        hidden = self._run_text(embeds, positions, step, visual_mask[None].to(self.device), deepstack)
        return self._head(hidden[last])
