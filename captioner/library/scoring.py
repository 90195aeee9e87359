"""Starts jobs that score the captions of the open folder."""

from collections.abc import Iterable

from captioner.config.presets import Preset
from captioner.config.settings import Settings
from captioner.jobs.runner import JobRunner
from captioner.jobs.scoring import scoring_job
from captioner.library.library import Library


def score_captions(
    library: Library, jobs: JobRunner, settings: Settings, preset: Preset, names: Iterable[str] | None = None
) -> int | None:
    """Score the captions of the files of these names, or all, that have no score by this model.

    Return the number of the job, or None if there is nothing to score. The job is not in the journal: scores are kept
    one by one, so another job does what is left of it. Raise ModelError, SettingsError and StateError.
    """
    found = library.lookup.unscored(names, preset.title)
    return jobs.start(scoring_job(tuple(found), found.values(), settings, preset)) if found else None
