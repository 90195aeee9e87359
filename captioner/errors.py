"""All errors that users see. Messages are shown as they are: what happened, to which file, what to do."""

from captioner.redaction import redact


class CaptionerError(Exception):
    """The base class. The CLI prints `error: <message>` and exits with status 2; the page shows the message."""

    def __str__(self) -> str:
        return redact(super().__str__())  # messages quoted from huggingface_hub may contain a token


class FolderError(CaptionerError):
    """A folder does not exist, is not a folder, cannot be read, or is not allowed."""


class MediaError(CaptionerError):
    """A media file cannot be read or exceeds a limit. The job continues with the next file."""


class CaptionError(CaptionerError):
    """A caption file cannot be read or written. The job continues with the next file."""


class SettingsError(CaptionerError):
    """A setting has an unknown name or a value that is not allowed."""


class PromptError(CaptionerError):
    """A prompt does not exist, cannot be changed, or is invalid."""


class StateError(CaptionerError):
    """The state folder cannot be used: not writable, damaged, or written by a newer version."""


class ModelError(CaptionerError):
    """A model is unknown, cannot be downloaded or loaded, or does not fit."""


class ReplicaError(CaptionerError):
    """A worker process failed to start or was lost."""


class JobError(CaptionerError):
    """A job cannot be started, resumed or undone, or failed as a whole."""
