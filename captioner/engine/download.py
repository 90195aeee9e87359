"""Find a model's files in a local folder or the Hub's cache, or download them. Needs no torch."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    HFValidationError,
    HTTPError,  # from the HTTP library of the installed version; base of HfHubHTTPError
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from tqdm.auto import tqdm

from captioner.errors import ModelError

log = logging.getLogger(__name__)

WANTED_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")

OnBytes = Callable[[int, int], None]  # (bytes so far, total bytes)


def find_model(source: str, offline: bool, cache: Path | None, on_bytes: OnBytes = lambda done, total: None) -> Path:
    """Return the folder with the model's files, after downloading them if needed.

    on_bytes is called with the progress of a download. Raises ModelError with one line: not found, gated, no network,
    disk full, ...
    """
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser().resolve()
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise ModelError(f"no model folder at {source}; give a folder with config.json, or a Hub id owner/name")
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
        raise ModelError(f"the download of {source} failed: {reason}; try again to resume it") from None
    except OSError as error:
        raise ModelError(f"cannot store {source}: {error.strerror or error}") from None


def _offline_environment() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _download(source: str, offline: bool, cache: Path | None, on_bytes: OnBytes) -> str:
    wanted = list(WANTED_FILES)
    if offline:
        return snapshot_download(source, local_files_only=True, cache_dir=cache, allow_patterns=wanted)
    try:
        plan = snapshot_download(source, dry_run=True, cache_dir=cache, allow_patterns=wanted)
    except DryRunError:  # hides the cause; the call below raises it or finds the files in the cache
        plan = []
    total = sum(file.file_size or 0 for file in plan if file.will_download)
    if total:
        log.info("downloading %s, %.1f GB", source, total / 1e9)
        on_bytes(0, total)
    reporter = _reporter(total, on_bytes)
    return snapshot_download(source, tqdm_class=reporter, cache_dir=cache, allow_patterns=wanted)


def _reporter(total: int, on_bytes: OnBytes) -> type[tqdm]:
    """Return a tqdm class that prints nothing and passes the bytes of the library's byte counters to on_bytes."""

    class Reporter(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._bytes, self._counts = 0, kwargs.get("unit") == "B"
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if self._counts and n:
                self._bytes += int(n)
                on_bytes(min(self._bytes, total), total)

    return Reporter
