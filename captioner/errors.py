"""Every error that a user sees, as one tree. A message is shown as it is: what happened, to which file, what to do."""

from captioner.redaction import redact


class CaptionerError(Exception):
    """Base class. The CLI prints `error: <message>` and exits with 2; the page shows the message as a toast."""

    def __str__(self) -> str:
        return redact(super().__str__())  # as those of the Hub's library, which are quoted, may hold a token


class FolderError(CaptionerError):
    """A folder that does not exist, is no folder, or cannot be read."""


class MediaError(CaptionerError):
    """A media file that cannot be read or is over a limit. Costs this one item."""


class CaptionError(CaptionerError):
    """A caption file that cannot be read or written. Costs this one item."""


class SettingsError(CaptionerError):
    """A setting with an unknown name or an impossible value."""


class PromptError(CaptionerError):
    """A prompt that does not exist, cannot be changed, or has no text."""


class StateError(CaptionerError):
    """The state folder cannot be created, is damaged, or was written by a newer version."""


class ModelError(CaptionerError):
    """A model that is missing, cannot be downloaded, does not fit, or is of an unknown kind."""


class ReplicaError(CaptionerError):
    """A replica that failed to start or was lost."""


class JobError(CaptionerError):
    """A job that cannot be started, such as one with nothing to caption."""
