"""Find a model's files: a local folder, the Hub's cache, or a download with its progress in bytes. Needs no torch."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    HFValidationError,
    HTTPError,  # of the HTTP library that the installed version uses; base of HfHubHTTPError
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from tqdm.auto import tqdm

from captioner.errors import ModelError

log = logging.getLogger(__name__)

WANTED_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")

OnBytes = Callable[[int, int], None]  # bytes so far, bytes in all


def find_model(source: str, offline: bool, cache: Path | None, on_bytes: OnBytes = lambda done, total: None) -> Path:
    """Return the folder with the model's files, downloading them first where needed.

    Raises ModelError in one line: not found, gated, no network, no room.
    """
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser().resolve()
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise ModelError(f"no model folder at {source}; give a folder that holds config.json, or a Hub id owner/name")
    try:
        return Path(_download(source, offline, cache, on_bytes))
    except GatedRepoError:
        raise ModelError(
            f"{source} is gated: accept its terms on its Hub page, then log in with `hf auth login` or set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(f"the Hub has no model {source}, or it is private and HF_TOKEN is not set") from None
    except HFValidationError:
        raise ModelError(f"{source} is neither a local folder nor a Hub id of the form owner/name") from None
    except LocalEntryNotFoundError:
        cause = "offline mode is on" if offline or _offline_environment() else "the Hub cannot be reached"
        raise ModelError(
            f"{source} is not downloaded and {cause}; connect once, or give the folder of a downloaded model"
        ) from None
    except HTTPError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"the download of {source} failed: {reason}; start again to go on where it stopped") from None
    except OSError as error:
        raise ModelError(f"cannot store {source}: {error.strerror or error}") from None


def _offline_environment() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _download(source: str, offline: bool, cache: Path | None, on_bytes: OnBytes) -> str:
    options = {"cache_dir": cache, "allow_patterns": list(WANTED_FILES)}
    if offline:
        return snapshot_download(source, local_files_only=True, **options)
    try:
        plan = snapshot_download(source, dry_run=True, **options)
    except DryRunError:  # hides the cause; the call below either tells it or finds the files in the cache
        plan = []
    total = sum(file.file_size or 0 for file in plan if file.will_download)
    if total:
        log.info("downloading %s, %.1f GB", source, total / 1e9)
        on_bytes(0, total)
    return snapshot_download(source, tqdm_class=_reporter(total, on_bytes), **options)


def _reporter(total: int, on_bytes: OnBytes) -> type[tqdm]:
    """A tqdm class that draws nothing and passes on the bytes of the library's own byte counters."""

    class Reporter(tqdm):
        def __init__(self, *args: object, **kwargs: object) -> None:
            self._bytes, self._counts = 0, kwargs.get("unit") == "B"
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if self._counts and n:
                self._bytes += int(n)
                on_bytes(min(self._bytes, total), total)

    return Reporter
