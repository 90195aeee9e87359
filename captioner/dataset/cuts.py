"""The cuts of clips, which jobs measure for captions that say when shots begin."""

from dataclasses import replace

from captioner.dataset.targets import Target
from captioner.media.scenes import is_installed
from captioner.values import SamplePlan


def with_cuts(plan: SamplePlan, target: Target) -> SamplePlan:
    """Return the plan that measures the cuts of clips if captions of the target have times of shots."""
    return replace(plan, find_cuts=_has_shots(target) and is_installed())


def missing_note(target: Target) -> str:
    """Return the line that says that cuts will not be measured, and what to install; "" if nothing is missing."""
    if not _has_shots(target) or is_installed():
        return ""
    return "times of shots are not compared with the cuts of clips; for that, pip install scenedetect-headless"


def _has_shots(target: Target) -> bool:
    return target.caption_form.has_shots and target.kind == "video"
