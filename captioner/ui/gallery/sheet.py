"""Which frames of a file its contact sheet shows."""

from collections.abc import Sequence
from dataclasses import replace

from captioner.captions.provenance import Provenance
from captioner.config.settings import sampling_plan
from captioner.errors import CaptionerError
from captioner.services import Services
from captioner.values import MediaItem, SamplePlan


def current_plan(services: Services) -> SamplePlan:
    """The frames that a job started now would take."""
    try:
        return sampling_plan(services.settings, services.preset())
    except CaptionerError:  # an unknown model, which is said beside the setting
        return SamplePlan()


def num_seen(item: MediaItem, made: Sequence[Provenance]) -> int:
    """How many frames of the file the model saw for the caption that it made last; 0 if it has changed since.

    made: as of `CaptionStore.provenance`.
    """
    is_of_this_file = made and made[0].created_at_s >= item.modified_s
    return len(made[0].caption.frame_times_s) if is_of_this_file else 0


def sheet_plan(services: Services, num_frames: int) -> SamplePlan:
    """`current_plan`, but for so many frames, unless 0: which ones these are depends on their number alone."""
    plan = current_plan(services)
    return replace(plan, max_frames=num_frames, min_frames=num_frames) if num_frames else plan
