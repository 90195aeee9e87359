"""Windows: the parts of a long clip that are captioned one after another."""

from dataclasses import replace

from captioner.dataset.exports.config_values import special_of
from captioner.dataset.subtitles import FORMATS
from captioner.dataset.targets import Target
from captioner.dataset.trainers import trainer, trainers
from captioner.errors import CaptionerError, SettingsError
from captioner.media.scenes import check_installed
from captioner.values import SamplePlan


def with_windows(plan: SamplePlan, windows: str, beside: bool, target: Target) -> SamplePlan:
    """Return the plan for captions of windows. beside: they will be written beside the clips.

    Raise SettingsError if that cannot be done, or if a trainer of the target would take what is written for media.
    """
    if windows == "none":
        return plan
    if plan.span not in ("none", "whole"):
        raise SettingsError(f"windows cannot be combined with span {plan.span}; leave out one of them")
    if windows == "scenes":
        check_installed()
    takes = [trainer(name).title for name in trainers() if _takes_files(name, target)] if beside else []
    if takes:
        advice = "leave windows_beside off, and they are written to the state folder"
        raise SettingsError(f"{takes[0]}, which trains {target.title}, takes .srt files for media; {advice}")
    return replace(plan, windows=windows)


def _takes_files(name: str, target: Target) -> bool:
    """Return whether a trainer trains a target and takes any of our files beside the clips for media."""
    ignored = trainer(name, target.name).ignores
    if not ignored or {extension.removeprefix(".") for extension in FORMATS} <= {*ignored}:
        return False
    try:
        special_of(name, target)
    except CaptionerError:
        return False
    return True
