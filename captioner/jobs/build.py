"""Builds the job that the settings describe."""

from dataclasses import replace

from captioner.captions.text import Decoration
from captioner.config.presets import Preset, check_quantizable
from captioner.config.settings import Settings, generation_options, sampling_plan
from captioner.engine.download import find_model
from captioner.jobs.estimate import longest_request
from captioner.jobs.job import FindModel, Job, Model
from captioner.system.devices import check_quantization, expand_devices
from captioner.values import MediaItem, ModelSpec


def build_job(items: tuple[MediaItem, ...], settings: Settings, preset: Preset, prompt: str) -> Job:
    """Return a job over these items. Raises what `build_model` raises."""
    return Job(
        items=items,
        model=build_model(settings, preset, prompt),
        prompt=prompt,
        plan=sampling_plan(settings, preset),
        options=generation_options(settings, preset),
        existing=settings.existing,
        decoration=Decoration(settings.trigger_word, settings.caption_prefix, settings.caption_suffix),
    )


def build_model(settings: Settings, preset: Preset, prompt: str) -> Model:
    """Return the model as the settings want it loaded, with room in memory for this prompt.

    Raises ModelError for options that cannot be combined, as far as this is known before anything is loaded.
    """
    devices = expand_devices(settings.devices)
    check_quantizable(preset, settings.quantization)
    check_quantization(settings.quantization, settings.dtype, devices)
    plan, options = sampling_plan(settings, preset), generation_options(settings, preset)
    spec = ModelSpec(
        source=preset.source,
        dtype=settings.dtype,
        quantization=settings.quantization,
        attention=settings.attention,
        sage_attention=settings.sage_attention,
        compile=settings.compile,
        batch_size=settings.batch_size,
        decode_threads=settings.decode_threads,
        max_tokens=longest_request(plan, prompt, options),
    )
    specs = tuple(replace(spec, device=device) for device in devices)
    return Model(preset.title, model_finder(preset.source, settings), specs)


def model_finder(source: str, settings: Settings) -> FindModel:
    """Return a function that finds the files of a model, and downloads them unless the settings forbid it."""
    return lambda on_bytes: find_model(source, settings.offline, settings.models_folder, on_bytes)
