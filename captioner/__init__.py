"""Caption folders of clips and images with a vision-language model.

    for event in captioner.caption("clips", model="qwen3-vl-8b"):
        print(event)

`caption` captions a folder once; a `Captioner` keeps the model loaded for several folders or files. Importing the
package loads nothing heavy: what needs other libraries is imported when it is first used.
"""

import importlib
import logging
import multiprocessing
import os
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from captioner.errors import (
    CaptionerError,
    CaptionError,
    FolderError,
    JobError,
    MediaError,
    ModelError,
    PromptError,
    ReplicaError,
    SettingsError,
    StateError,
)

if TYPE_CHECKING:
    from captioner.config.options import SettingsOptions
    from captioner.config.settings import Settings
    from captioner.jobs.events import (
        Event,
        ItemDone,
        ItemEvent,
        ItemFailed,
        ItemGivenBack,
        ItemProgress,
        ItemSkipped,
        ItemStarted,
        ItemTried,
        JobEnded,
        JobQueued,
        JobStarted,
        ModelLoading,
        ReplicaChanged,
        ReplicaLoad,
    )
    from captioner.media.discover import Discovery, discover
    from captioner.media.sample import sample
    from captioner.services import Services
    from captioner.values import Caption, Frames, GenerationOptions, MediaItem, SamplePlan

log = logging.getLogger(__name__)

__version__ = "0.2.0"

__all__ = [
    "Caption", "CaptionError", "Captioner", "CaptionerError", "Discovery", "Event", "FolderError", "Frames",
    "GenerationOptions", "ItemDone", "ItemEvent", "ItemFailed", "ItemGivenBack", "ItemProgress", "ItemSkipped",
    "ItemStarted", "ItemTried", "JobEnded", "JobError", "JobQueued", "JobStarted", "MediaError", "MediaItem",
    "ModelError", "ModelLoading", "PromptError", "ReplicaChanged", "ReplicaError", "ReplicaLoad", "SamplePlan",
    "Settings", "SettingsError", "SettingsOptions", "StateError", "__version__", "caption", "discover", "sample",
]  # fmt: skip

_MODULES = (  # hold the names that are imported when they are first used; the quickest to import come first
    "captioner.values", "captioner.jobs.events", "captioner.media.discover", "captioner.config.options",
    "captioner.config.settings", "captioner.media.sample",
)  # fmt: skip

AnyPath = str | os.PathLike[str]

if not TYPE_CHECKING:  # type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Import the module that holds a public name."""
        for module in map(importlib.import_module, _MODULES if name in __all__ else ()):
            if hasattr(module, name):
                globals()[name] = value = getattr(module, name)
                return value
        raise AttributeError(f"module 'captioner' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def caption(
    folder: AnyPath, *, state: AnyPath | None = None, **settings: Unpack["SettingsOptions"]
) -> Generator["Event"]:
    """Caption the clips and images of a folder and yield the events of the job as they come.

    Closing the generator early stops the job and ends its worker processes. The rest is as in `Captioner` and
    `Captioner.caption`, arguments and exceptions too.
    """
    with Captioner(state=state, **settings) as captioner:
        yield from captioner.caption(folder)


class Captioner:
    """A model that stays loaded between folders and files: a context manager, safe to use from several threads.

    Models run in processes of their own, so a script calls this under `if __name__ == "__main__":`.
    """

    def __init__(self, *, state: AnyPath | None = None, **settings: Unpack["SettingsOptions"]) -> None:
        """Open the state folder; the model is loaded when it is first needed.

        Args:
            state: Folder for settings, prompts and history. None means that of the app: `CAPTIONER_STATE` if it is
                set, else `.gradio/` in a checkout or the user's data folder.
            **settings: Any field of `Settings`, such as `model="qwen3-vl-8b"` or `max_frames=16`. Settings that are
                not given come from the environment, else from the settings file, else they are the defaults.

        Raises:
            SettingsError: A setting is unknown or its value is not allowed.
            StateError: The state folder cannot be used, or another program is using it.
            CaptionerError: The script lacks `if __name__ == "__main__":`.
        """
        if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker is importing the script
            raise CaptionerError('put the code that captions under `if __name__ == "__main__":`')
        from captioner.services import Services

        self._services = Services(Path(state) if state else None, settings)
        self._closed = False
        try:
            self._services.claim()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Captioner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop what is running, end the worker processes and release the state folder."""
        self._closed = True
        self._services.close()

    @property
    def settings(self) -> "Settings":
        """The settings in use."""
        return self._services.settings

    def caption(self, folder: AnyPath) -> Generator["Event"]:
        """Caption the clips and images of a folder and yield the events of the job as they come.

        Captions are written beside the media, as the settings say (`existing`, `recursive`, `kinds`, ...). A file that
        fails yields `ItemFailed`, and the job continues. The last event is `JobEnded`. Nothing happens before the first
        event is asked for; closing the generator early stops the job.

        Raises:
            FolderError: The folder does not exist or cannot be read.
            JobError: The folder has no clips or images, the job failed as a whole, such as when the model cannot be
                loaded, or this captioner is closed.
            ModelError: The model is unknown, or the settings do not fit it.
            PromptError: The prompt does not exist.
        """
        services = self._open_services()
        library = services.open_folder(Path(folder), services.settings.recursive)
        for warning in library.scan.warnings:
            log.warning("%s", warning)
        yield from self._follow(services.start)

    def caption_file(self, path: AnyPath) -> "Caption":
        """Caption one clip or image and return the caption. No file is written.

        Raises:
            MediaError: The file does not exist, is not a clip or image, or cannot be captioned.
            JobError: The job failed as a whole, such as when the model cannot be loaded, or this captioner is closed.
            ModelError: The model is unknown, or the settings do not fit it.
            PromptError: The prompt does not exist.
        """
        from captioner.jobs.events import ItemFailed, ItemTried

        services = self._open_services()
        for event in self._follow(lambda: services.try_file(Path(path))):
            if isinstance(event, ItemTried) and event.made:
                return replace(event.made, text=event.caption)
            if isinstance(event, ItemFailed):
                raise MediaError(f"{path}: {event.reason}")
        raise JobError(f"{path}: stopped before it was captioned")

    def _open_services(self) -> "Services":
        if self._closed:
            raise JobError("this captioner is closed")
        return self._services

    def _follow(self, start: Callable[[], int]) -> Generator["Event"]:
        """Start a job and yield its events; when the generator is closed early, stop the job and wait for its end."""
        from captioner.jobs.events import JobEnded

        cursor = self._services.events.snapshot().cursor
        number = start()
        events = self._services.jobs.follow(number, cursor)
        try:
            for event in events:
                yield event
                if isinstance(event, JobEnded) and event.job == number and event.outcome == "failed":
                    raise JobError(event.reason)
        finally:
            self._services.jobs.stop(number)
            for _ in events:
                pass
