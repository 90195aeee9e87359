"""Model servers and clusters in the settings: whether they do all the work, and which model they have."""

import contextlib

from captioner.config.presets import Preset, choose_preset, find_preset
from captioner.config.settings import Settings
from captioner.errors import FolderError, ModelError
from captioner.system.roots import Roots


def uses_this_machine(settings: Settings) -> bool:
    """Return whether devices of this machine are used: nothing else is, or they were chosen beside it."""
    return not (settings.endpoint or settings.ray) or settings.devices != ("auto",)


def choose_model(settings: Settings, name: str, vram_gb: float | None, roots: Roots) -> Preset:
    """Return the preset of this name; "auto" is what fits this much GPU memory, or the only model of the servers.

    Raise ModelError and FolderError, but not if servers do all the work: what they have is known once they are asked.
    """
    if settings.ray or uses_this_machine(settings):
        return choose_preset(name, vram_gb, roots)
    if name.strip().lower() == "auto":
        return Preset("auto", "the server's model", "", notes="The only model of the server.")
    with contextlib.suppress(ModelError, FolderError):
        return find_preset(name, roots)
    return Preset(name, name, name.strip(), notes="The server's name of a model.")
