"""The frames that the contact sheet of a file shows."""

from collections.abc import Sequence
from dataclasses import replace

from captioner.captions.provenance import Provenance
from captioner.config.settings import sampling_plan
from captioner.errors import CaptionerError
from captioner.services import Services
from captioner.values import MediaItem, SamplePlan


def current_plan(services: Services) -> SamplePlan:
    """Return the sampling plan that a job started now would use."""
    try:
        return sampling_plan(services.settings, services.preset())
    except CaptionerError:  # an unknown model; the Settings tab shows the error
        return SamplePlan()


def num_seen(item: MediaItem, made: Sequence[Provenance]) -> int:
    """Return how many frames the model saw for its latest caption of this file; 0 if the file changed since.

    made: what `CaptionStore.provenance` returns.
    """
    is_of_this_file = made and made[0].created_at_s >= item.modified_s
    return len(made[0].caption.frame_times_s) if is_of_this_file else 0


def sheet_plan(services: Services, num_frames: int) -> SamplePlan:
    """Return a plan that samples `num_frames` frames; 0: as `current_plan`. The number alone decides which frames."""
    plan = current_plan(services)
    return replace(plan, max_frames=num_frames, min_frames=num_frames) if num_frames else plan
