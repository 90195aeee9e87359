"""Processors of the families of models that take videos, built without the Hub: real classes, a tokenizer of bytes.

Each chat template puts the family's mark of an image or a video before the text.
"""

from dataclasses import dataclass, field
from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, ProcessorMixin

TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}{% if part.type == 'image' %}@IMAGE@"
    "{% elif part.type == 'video' %}@VIDEO@{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}<eos>"
)


@dataclass(frozen=True)
class Family:
    """A processor with the classes of its parts, its marks of an image and a video, and the tokens it needs."""

    processor: str
    image_processor: str
    video_processor: str
    image: str
    video: str
    tokens: tuple[str, ...] = ()
    named: dict[str, str] = field(default_factory=dict)  # attributes of the tokenizer, each a token
    audio: str = ""  # class of the feature extractor
    of_processor: dict[str, Any] = field(default_factory=dict)  # arguments
    of_images: dict[str, Any] = field(default_factory=dict)
    of_videos: dict[str, Any] = field(default_factory=dict)


_QWEN = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_PADS = ("<|image_pad|>", "<|video_pad|>")
_WRAPPED = tuple(f"<|vision_start|>{pad}<|vision_end|>" for pad in _PADS)
_GLM_TOKENS = tuple(f"<|{name}_of_{kind}|>" for name in ("begin", "end") for kind in ("image", "video"))
_GLM = ("<|begin_of_image|><|image|><|end_of_image|>", "<|begin_of_video|><|video|><|end_of_video|>")
_GLM_ALL = (*_GLM_TOKENS, "<|image|>", "<|video|>")
_IMAGE_VIDEO = ("<|image|>", "<|video|>")
_PLAIN = ("<image>", "<video>")
_GEMMA = {f"{name}_token": f"<|{name}|>" for name in ("image", "video", "audio", "boi", "eoi", "boa", "eoa")}
_MINICPM = {
    f"{kind}_{end}_token": f"<{kind}_{end}>" for kind in ("image", "slice", "image_id") for end in ("start", "end")
}
_MINICPM |= {"image_token": "<img>", "video_token": "<vid>"}
_OMNI = {f"{kind}_token": f"<|{kind.upper()}|>" for kind in ("image", "video", "audio")}
_OMNI |= {f"{kind}_{end}_token": f"<|{kind}_{end}|>" for kind in ("vision", "audio") for end in ("bos", "eos")}
_MUSE = ("<|patch|>", "<|image_start|>", "<|image_end|>", "<|video|>")
_MUSE += ("<|vid_frame_separator|>", "<|vid_start|>", "<|vid_end|>")
_MOLMO = ("<im_start>", "<im_end>", "<im_patch>", "<im_col>", "<low_res_im_start>", "<frame_start>", "<frame_end>")
_MINIMAX = tuple(f"]<]{name}[>[" for name in ("image", "video", "start of image", "end of image"))
_KIMI = ("<|media_pad|>", "<|kimi_k25_video_placeholder|>", "<|media_begin|>", "<|media_content|>", "<|media_end|>")
_SMOLVLM = (*_PLAIN, "<fake_token_around_image>", "<end_of_utterance>", "<global-img>")
_NEMOTRON = (*_PLAIN, "<img>", "</img>", "<so_embedding>", "<so_start>", "<so_end>")
_ERNIE = {
    f"{kind}_{end}_token": f"<|{kind.upper()}_{end.upper()}|>"
    for kind in ("image", "video")
    for end in ("start", "end")
}
_ERNIE |= {"image_token": "<|IMAGE_PLACEHOLDER|>", "video_token": "<|VIDEO_PLACEHOLDER|>"}
_COHERE = ("<|IMAGE_PAD|>", "<|VIDEO_PAD|>", "<|VISION_START|>", "<|VISION_END|>")
_LLAVA = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}


def _qwen(name: str, videos: str, image: str = _WRAPPED[0], video: str = _WRAPPED[1], **of_images: int) -> Family:
    classes = (f"{name}Processor", "Qwen2VLImageProcessor", f"{videos}VideoProcessor")
    return Family(*classes, image, video, _QWEN, of_images=of_images)


def _omni(name: str) -> Family:
    classes = (f"{name}Processor", "Qwen2VLImageProcessor", "Qwen2VLVideoProcessor")
    return Family(*classes, "<|IMAGE|>", "<|VIDEO|>", named=_OMNI, audio="WhisperFeatureExtractor")


def _own(name: str, image: str, video: str, tokens: tuple[str, ...] = (), **more: Any) -> Family:
    """Return a family whose three classes have the same name."""
    return Family(*(f"{name}{part}Processor" for part in ("", "Image", "Video")), image, video, tokens, **more)


FAMILIES = {
    "qwen2_vl": _qwen("Qwen2VL", "Qwen2VL"),
    "qwen2_5_vl": _qwen("Qwen2_5_VL", "Qwen2VL"),
    "qwen3_vl": _qwen("Qwen3VL", "Qwen3VL"),
    "exaone4_5": _qwen("Exaone4_5_", "Qwen2VL", *_PADS),
    "lfm3_vl": _qwen("Lfm3Vl", "Qwen3VL", *_PADS, patch_size=16),
    "cosmos3_edge": _own("Cosmos3Edge", *_WRAPPED, _QWEN),
    "cohere_compass": _own("CohereCompass", *_COHERE[:2], _COHERE),
    "gemma4": _own("Gemma4", *_IMAGE_VIDEO, named=_GEMMA, audio="Gemma4AudioFeatureExtractor"),
    "gemma4_unified": _own("Gemma4Unified", *_IMAGE_VIDEO, named=_GEMMA, audio="Gemma4UnifiedAudioFeatureExtractor"),
    "glm4v": _own("Glm4v", *_GLM, _GLM_ALL),
    "glm46v": _own("Glm46V", *_GLM, _GLM_ALL),
    "glm5_next": _own("Glm5Next", *_GLM, _GLM_ALL),
    "molmo2": _own("Molmo2", *_IMAGE_VIDEO, (*_IMAGE_VIDEO, *_MOLMO)),
    "minicpmv4_6": _own("MiniCPMV4_6", "<img>", "<vid>", named=_MINICPM, of_videos={"stack_frames": 3}),
    "minicpmv4_7": Family(
        "MiniCPMV4_7Processor", "MiniCPMV4_6ImageProcessor", "MiniCPMV4_6VideoProcessor", "<img>", "<vid>",
        named=_MINICPM,
    ),
    "minicpm_ocr": _own("MiniCPMOcr", "<img>", "<vid>", named=_MINICPM),
    "video_llama_3": _own("VideoLlama3", *_PADS, _QWEN),
    "smolvlm": _own("SmolVLM", *_PLAIN, _SMOLVLM, of_images={"do_image_splitting": False}),
    "nemotron_h_omni": _own(
        "NemotronH_Omni_Reasoning_V3", *_PLAIN, _NEMOTRON, audio="ParakeetFeatureExtractor",
        of_videos={"norm_mean": [0.5] * 3, "norm_std": [0.5] * 3, "video_target_num_patches": 64},
    ),
    "kimi_k25": _own("Kimi_K25", *_KIMI[:2], _KIMI),
    "muse_glimmer": _own("MuseGlimmer", "<|patch|>", "<|video|>", _MUSE),
    "muse_spark": Family(
        "MuseSparkProcessor", "MuseGlimmerImageProcessor", "MuseGlimmerVideoProcessor", "<|patch|>", "<|video|>", _MUSE,
        audio="MuseSparkFeatureExtractor",
    ),
    "minimax_m3_vl": _own("MiniMaxM3VL", *_MINIMAX[:2], _MINIMAX),
    "ernie4_5_vl_moe": _own(
        "Ernie4_5_VLMoe", "<|IMAGE_PLACEHOLDER|>", "<|VIDEO_PLACEHOLDER|>", named=_ERNIE,
        of_videos={"draw_on_frames": False},
    ),
    "hy_v4_vl": _own("HYV4VL", "<img>", "<vid>", named={"image_token": "<img>", "video_token": "<vid>"}),
    "dots3_note": Family(
        "Dots3NoteProcessor", "Qwen2VLImageProcessor", "Qwen3VLVideoProcessor", "<|imgpad|>", "<|video_pad|>",
        ("<|imgpad|>", "<|video_pad|>", "<|audio_comp_pad|>"), audio="WhisperFeatureExtractor",
    ),
    "hyperclovax_vision_v2": _qwen("HyperCLOVAXVisionV2", "Qwen2VL", _PADS[0], f"<|video_duration|>{_PADS[1]}"),
    "internvl": Family(
        "InternVLProcessor", "GotOcr2ImageProcessor", "InternVLVideoProcessor", "<IMG_CONTEXT>", "<video>",
        named={"start_image_token": "<img>", "end_image_token": "</img>", "video_token": "<video>"}
        | dict.fromkeys(("context_image_token", "image_token"), "<IMG_CONTEXT>"),
    ),
    "llava_onevision": _own(
        "LlavaOnevision", *_PLAIN, _PLAIN,
        of_processor={"num_image_tokens": 729, "vision_feature_select_strategy": "full"},
    ),
    "llava_next_video": Family(
        "LlavaNextVideoProcessor", "LlavaNextImageProcessor", "LlavaNextVideoVideoProcessor", *_PLAIN, _PLAIN,
        of_processor=_LLAVA,
    ),
    "video_llava": _own("VideoLlava", *_PLAIN, _PLAIN, of_processor=_LLAVA),
    "perception_lm": _own(
        "PerceptionLM", *_IMAGE_VIDEO, named={"image_token": "<|image|>", "video_token": "<|video|>"},
        of_processor={"patch_size": 14, "pooling_ratio": 2}, of_images={"max_num_tiles": 1},
    ),
    "qwen2_5_omni": _omni("Qwen2_5Omni"),
    "qwen3_omni_moe": _omni("Qwen3OmniMoe"),
}  # fmt: skip


def build_processor(name: str) -> ProcessorMixin:
    """Build the processor of a family with left padding, as the engine loads it."""
    family = FAMILIES[name]
    parts: dict[str, Any] = {
        "tokenizer": _build_tokenizer(family),
        "image_processor": getattr(transformers, family.image_processor)(**family.of_images),
        "video_processor": getattr(transformers, family.video_processor)(**family.of_videos),
        "chat_template": TEMPLATE.replace("@IMAGE@", family.image).replace("@VIDEO@", family.video),
        **family.of_processor,
    }
    if family.audio:
        parts["feature_extractor"] = getattr(transformers, family.audio)()
    return getattr(transformers, family.processor)(**parts)


def _build_tokenizer(family: Family) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    marks = {"eos_token": "<eos>", "bos_token": "<bos>", "pad_token": "<pad>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, **marks, extra_special_tokens=family.named, padding_side="left", model_max_length=100_000
    )
    tokenizer.add_tokens(list(family.tokens), special_tokens=True)
    return tokenizer
