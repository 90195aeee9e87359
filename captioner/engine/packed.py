"""Run a model's unmodified modules over many requests packed into one sequence.

Only this module and `families` depend on the structure of the models in transformers, the same in 5.17 to 5.24.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from captioner.engine.attention import TEXT_ATTENTION, VISION_ATTENTION, Piece, TextStep, VisionStep, attend
from captioner.engine.attention_backends import Segments, pick_backend
from captioner.engine.cache import SlotCache
from captioner.engine.compiling import CompiledLayers, eagerly
from captioner.engine.families import family_of
from captioner.engine.fused import FusedParts
from captioner.engine.linear_attention import PackedLinear, commit
from captioner.engine.linear_kernels import Kernels
from captioner.engine.linear_layers import LinearLayers
from captioner.engine.operators import attending
from captioner.engine.prepare import PIXELS
from captioner.engine.row_kernel import row_kernel
from captioner.engine.rows import LENGTH, POSITION, SLOT, upload
from captioner.engine.running import Prompt
from captioner.engine.sage import with_sage
from captioner.engine.slot_kernel import with_kernel
from captioner.engine.step_kernel import StepKernel, step_kernel
from captioner.engine.text_layers import Rotation, run_layers
from captioner.engine.weights import SMALL_MODEL

ROTATIONS_BY_LENGTH = ("dynamic", "longrope")  # types whose frequencies depend on the longest position
GRIDS = ("image_grid_thw", "video_grid_thw")


class PackedModel:
    """Replaces the attention of both towers until release(); `generate` on the same model fails until then."""

    def __init__(self, model: PreTrainedModel, attention: str = "auto", sage: bool = False) -> None:
        self.device, self.dtype = model.device, model.dtype
        self.config = model.config.text_config
        self._vision_config = model.config.vision_config
        self._core = model.model
        family = family_of(model)
        assert family is not None  # why_unsupported() says so
        self._family, self.slot_shape = family, family.slot_shape(self.config)
        self._before = (self.config._attn_implementation, self._vision_config._attn_implementation)
        text, vision = self.config, self._vision_config
        shape = (text.num_attention_heads, text.num_key_value_heads, text.head_dim)
        self.backend, self.backend_note = pick_backend(self.device, self.dtype, *shape, attention)
        is_large = self.device.type == "cpu" and model.num_parameters() >= SMALL_MODEL
        if attention == "auto" and is_large:
            self.backend, self.backend_note = with_kernel(self.backend, self.device, self.dtype, *shape)
        self.sage_note = "off"
        if sage:
            self.backend, self.sage_note = with_sage(self.backend, self.device, self.dtype, *shape)
        vision_shape = (vision.num_heads, vision.num_heads, vision.hidden_size // vision.num_heads)
        self.vision_backend, self.vision_note = pick_backend(self.device, self.dtype, *vision_shape, attention)
        self.config._attn_implementation = TEXT_ATTENTION
        self._vision_config._attn_implementation = VISION_ATTENTION
        self._row_kernel = row_kernel(self.dtype) if is_large else None
        self._fused = FusedParts(self._core.language_model, self._row_kernel)
        layers = family.linear_layers(self._core.language_model)
        self._kernels = Kernels(layers[0]) if layers else None
        self._linear = [PackedLinear(layer) for layer in layers]
        self._layers = LinearLayers(model, is_large)
        self._step_kernel: StepKernel | None = None
        if self._row_kernel:
            self._step_kernel = step_kernel(self._core.language_model, self.slot_shape, self.backend)
        self._compiled: CompiledLayers | None = None
        self._rotations: Rotation | None = None  # of every position in a slot
        self._head = model.lm_head

    def release(self) -> None:
        """Restore the attention and the layers that the model had before."""
        self.stop_compiling()
        self._step_kernel = None
        self._layers.release()
        self._fused.release()
        while self._linear:
            self._linear.pop().release()
        if self._kernels:
            self._kernels.release()
        self.config._attn_implementation, self._vision_config._attn_implementation = self._before

    def compile_layers(self) -> None:
        """Compile the layers for decode(), each part when it first runs. torch raises anything if that fails."""
        layers = self._core.language_model.layers
        self._compiled = CompiledLayers(layers, self._linear, as_one=self.device.type == "cpu")

    @property
    def has_step_kernel(self) -> bool:
        """True if decode steps are one call, in which there is nothing to compile."""
        return self._step_kernel is not None

    def stop_compiling(self) -> None:
        """Run the layers as they are again."""
        if self._compiled:
            self._compiled.release()
        self._compiled = None

    def report_rows(self) -> tuple[tuple[str, str], ...]:
        """Return the rows of the capability report about the layers."""
        text = self.backend.name + (f" ({self.backend_note})" if self.backend_note else "")
        vision = self.vision_backend.name + (f" ({self.vision_note})" if self.vision_note else "")
        rows = [
            ("attention", text), ("vision attention", vision), ("SageAttention", self.sage_note),
            ("linear layers", self._layers.note()),
        ]  # fmt: skip
        if self._row_kernel:
            rows.append(("norms and gates", "a C kernel"))
        if self._step_kernel:
            rows.append(("decode steps", self._step_kernel.note))
        if self._kernels:
            rows.append(("linear attention", self._kernels.note))
        return tuple(rows)

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

    def _embed_prompts(self, read: Sequence[tuple[Prompt, slice]]) -> None:
        """Embed the text of these prompts, and the frames that lie in these parts of them, unless earlier steps did."""
        merge = self._vision_config.spatial_merge_size**2
        new: list[tuple[Prompt, slice]] = []  # and their patches
        sizes: list[tuple[int, int]] = []
        for prompt, part in read:
            if prompt.embeds is None:
                tokens = prompt.request.inputs["input_ids"][0]
                prompt.embeds = self._embed(upload(tokens, self.device))[0]
            first, frames = prompt.next_frames(part.stop, merge)
            if frames:
                new.append((prompt, slice(first, first + sum(rows * columns for rows, columns in frames))))
                sizes += frames
        if not new:
            return
        encoded = self._encode(new, sizes)
        counts = [(patches.stop - patches.start) // merge for _, patches in new]
        levels = [encoded.pooler_output, *(self._family.deepstack(encoded) or ())]
        for (prompt, patches), own in zip(
            new, zip(*(level.split(counts) for level in levels), strict=True), strict=True
        ):
            prompt.add_visual(patches.start // merge, own[0], own[1:])

    def _encode(self, new: list[tuple[Prompt, slice]], sizes: list[tuple[int, int]]) -> Any:
        """Run the vision tower over these patches of prompts, which are frames of `sizes` rows and columns."""
        patches = []
        for prompt, part in new:
            request = prompt.request
            pixels = next(request.inputs[name] for name in PIXELS if name in request.inputs)[part]
            pixels = upload(pixels, self.device)
            patches.append((request.scale.apply(pixels) if request.scale else pixels).to(self.dtype))
        frames = Segments.from_lengths([rows * columns for rows, columns in sizes], self.device)

        def join(name: str) -> Tensor:
            joined = torch.cat([prompt.request.layout[name][part] for prompt, part in new])
            return upload(joined, self.device)

        return self._core.visual(
            torch.cat(patches),
            grid_thw=torch.tensor([(1, *size) for size in sizes]),
            cu_seqlens=frames.bounds,
            max_seqlen=frames.longest,
            position_ids=join("patch_positions"),
            interp_indices=join("taps"),
            interp_weights=join("weights"),
            vision_step=VisionStep(self.vision_backend, frames),
            return_dict=True,
        )

    def _rotation_of_rows(self, positions: Tensor, num_positions: int) -> Rotation:
        """Return cosines and sines (1, B, R) of positions int64 (B,) < num_positions after a prompt, from a table.

        There a token has one position, at most the number of tokens before it, instead of three.
        """
        rotary = self._core.language_model.rotary_emb
        nothing = torch.empty(0, dtype=self.dtype, device=self.device)  # says which dtype and device
        if rotary.rope_type in ROTATIONS_BY_LENGTH:
            return rotary(nothing, positions.expand(3, 1, -1))
        if self._rotations is None or self._rotations[0].shape[1] < num_positions:
            every = torch.arange(num_positions, device=self.device)
            self._rotations = rotary(nothing, every.expand(3, 1, -1))
        cos, sin = self._rotations
        return cos.index_select(1, positions), sin.index_select(1, positions)

    def _run_text(
        self, hidden: Tensor, rotation: Rotation, step: TextStep,
        visual: Tensor | None = None, deepstack: Sequence[Tensor] = (), needed: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Run the text tower as run_layers() does, also its norm: embeddings (1, N, hidden) -> (K, hidden)."""
        tower = self._core.language_model
        with attending(partial(attend, step)):
            if self._step_kernel and not step.pieces:
                hidden = self._step_kernel.run(hidden, rotation, step)
            elif self._compiled and not step.pieces:
                hidden = self._compiled.run(tower.layers, hidden, rotation, step)
            else:
                hidden = run_layers(tower.layers, hidden, rotation, step, visual, deepstack, needed)
        commit(step)
        return tower.norm(hidden)[0]

    def decode(self, rows: Tensor, cache: SlotCache, num_slots: int, longest: int) -> Tensor:
        """Run one more token of each row and return logits (B, V).

        rows int64 (5, B) as in `rows`; num_slots and longest are upper bounds of slots and lengths with the new token.
        A graph can capture it: no waiting for the device, no shape depends on values.
        """
        slots, positions, lengths = rows[SLOT], rows[POSITION], rows[LENGTH]
        plan = self.backend.plan_rows(cache, slots, lengths + 1, num_slots, longest)
        step = TextStep(cache, self.backend, slots * cache.slot_tokens + lengths, (), None, plan, slots)
        embeds = self._embed(cache.tokens.index_select(0, slots))
        return self._head(self._run_text(embeds, self._rotation_of_rows(positions, cache.slot_tokens), step))

    def mixed(
        self, pieces: Sequence[tuple[Prompt, int]], rows: Tensor, cache: SlotCache, num_slots: int, longest: int
    ) -> Tensor:
        """Read so many more tokens of each prompt into its slot, and run one more token of each row, in one pass.

        Prompts that earlier steps have begun come first. The rest is as in decode(), but B may be 0. Returns logits
        (P + B, V) for the P prompts that end in this step and the rows.
        """
        parts = [Piece(prompt.slot, prompt.num_read, length) for prompt, length in pieces]
        read = [(prompt, slice(prompt.num_read, prompt.num_read + length)) for prompt, length in pieces]
        self._embed_prompts(read)
        ends = list(itertools.accumulate(part.length for part in parts))
        completed = [
            end - 1 for end, (prompt, part) in zip(ends, read, strict=True) if prompt.ends_with(part.stop - part.start)
        ]
        last = torch.tensor([*completed, *range(ends[-1], ends[-1] + rows.shape[1])], dtype=torch.int64)
        write = torch.cat(
            [prompt.slot * cache.slot_tokens + torch.arange(part.start, part.stop) for prompt, part in read]
        )
        positions = torch.cat([prompt.request.layout["positions"][:, part] for prompt, part in read], 1)
        visual = torch.cat([prompt.is_visual[part] for prompt, part in read]).nonzero()[:, 0]
        last, write, positions, visual = (upload(x, self.device) for x in (last, write, positions, visual))
        slots, lengths = rows[SLOT], rows[LENGTH]
        write = torch.cat([write, slots * cache.slot_tokens + lengths])
        positions = torch.cat([positions, rows[POSITION].expand(3, -1)], 1)
        embedded = [prompt.embeds[part] for prompt, part in read if prompt.embeds is not None]
        embeds = torch.cat([*embedded, self._embed(cache.tokens.index_select(0, slots))[0]])[None]
        plan = None
        if rows.shape[1]:
            plan = self.backend.plan_rows(cache, slots, lengths + 1, num_slots, longest)
        begun = [part.length for part in parts if not part.start]
        segments = Segments.from_lengths(begun, self.device) if begun else None
        step = TextStep(cache, self.backend, write, tuple(parts), segments, plan, slots if rows.shape[1] else None)
        with eagerly(self._compiled):
            rotation = self._core.language_model.rotary_emb(embeds, positions[:, None])
            hidden = self._run_text(embeds, rotation, step, visual, _join_deepstack(read), last)
        return self._head(hidden)


def _join_deepstack(read: Sequence[tuple[Prompt, slice]]) -> list[Tensor]:
    """Return the DeepStack embeddings of the visual tokens in these parts of prompts, by level."""
    levels = zip(*(prompt.deepstack for prompt, _ in read), strict=True)
    bounds = [(prompt.num_visual(part.start), prompt.num_visual(part.stop)) for prompt, part in read]
    return [
        torch.cat([each[start:stop] for each, (start, stop) in zip(level, bounds, strict=True)]) for level in levels
    ]
