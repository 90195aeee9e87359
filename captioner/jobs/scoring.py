"""Jobs that score captions instead of writing them."""

from collections.abc import Collection, Sequence

from captioner.captions.scores import question
from captioner.config.presets import Preset
from captioner.config.settings import Settings
from captioner.jobs.job import Job, build_model, job_plan
from captioner.values import GenerationOptions, MediaItem

SCORING = GenerationOptions(max_new_tokens=1, scores=True)


def scoring_job(items: Sequence[MediaItem], texts: Collection[str], settings: Settings, preset: Preset) -> Job:
    """Return a job that scores the captions of these items. Raise what `build_model` raises.

    It shows the model the frames that a captioning job would show it, of long clips those of the whole.
    """
    settings = settings.model_copy(update={"windows": "none"})
    model = build_model(settings, preset, question(max(texts, key=len, default=""), "image"))
    return Job(tuple(items), model, "", job_plan(settings, preset), SCORING, save=False)
