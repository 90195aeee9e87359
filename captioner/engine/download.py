"""Find a model's files in a local folder or the Hub's cache, or download them. Needs no torch."""

import importlib
import logging
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import errors, snapshot_download
from tqdm.auto import tqdm

from captioner.errors import ModelError

log = logging.getLogger(__name__)

WANTED_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")

# What the HTTP library of the installed huggingface_hub raises for variables such as HTTPS_PROXY.
_http = importlib.import_module(errors.HTTPError.__module__.partition(".")[0])
BAD_PROXY = (ValueError, ImportError, _http.InvalidURL)

OnBytes = Callable[[int, int], None]  # (bytes so far, total bytes)


def find_model(source: str, offline: bool, cache: Path | None, on_bytes: OnBytes = lambda done, total: None) -> Path:
    """Return the folder with the model's files, after downloading them if needed. Raises ModelError with one line."""
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser().resolve()
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise ModelError(f"no model folder at {source}; give a folder with config.json, or a Hub id owner/name")
    try:
        return Path(_download(source, offline, cache, on_bytes))
    except (OSError, errors.HFValidationError, errors.HTTPError, *BAD_PROXY) as error:
        raise ModelError(_describe(error, source, offline) + _proxy_hint(error, offline)) from None


def _proxy_hint(error: Exception, offline: bool) -> str:
    """Return which proxy the environment names, if the error may come from it."""
    proxies = urllib.request.getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    is_of_hub = isinstance(error, (errors.RepositoryNotFoundError, errors.HFValidationError))
    is_of_network = isinstance(error, (errors.HTTPError, errors.LocalEntryNotFoundError, *BAD_PROXY))
    return f" (through the proxy {proxy})" if proxy and is_of_network and not is_of_hub and not offline else ""


def _describe(error: Exception, source: str, offline: bool) -> str:
    match error:
        case errors.GatedRepoError():
            how = "accept its terms on its Hub page, then log in with `hf auth login` or set HF_TOKEN"
            return f"{source} is gated: {how}"
        case errors.RepositoryNotFoundError():
            return f"the Hub has no model {source}, or it is private and HF_TOKEN is not set"
        case errors.HFValidationError():
            return f"{source} is neither a local folder nor a Hub id of the form owner/name"
        case errors.LocalEntryNotFoundError():
            is_offline = offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
            cause = "offline mode is on" if is_offline else "the Hub cannot be reached"
            return f"{source} is not downloaded and {cause}; connect once, or give the folder of a downloaded model"
        case errors.HTTPError():  # from the HTTP library of the installed version
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return f"the download of {source} failed: {reason}; try again to resume it"
    if isinstance(error, BAD_PROXY):
        return f"the download of {source} failed: the proxy settings cannot be used: {error}"
    return f"cannot store {source}: {getattr(error, 'strerror', None) or error}"


def _download(source: str, offline: bool, cache: Path | None, on_bytes: OnBytes) -> str:
    wanted = list(WANTED_FILES)
    if offline:
        return snapshot_download(source, local_files_only=True, cache_dir=cache, allow_patterns=wanted)
    try:
        plan = snapshot_download(source, dry_run=True, cache_dir=cache, allow_patterns=wanted)
    except errors.DryRunError:  # hides the cause; the call below raises it or finds the files in the cache
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
