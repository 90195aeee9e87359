"""Find a model's files in a local folder or the Hub's cache, or download them. Needs no torch."""

import importlib
import logging
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import errors, hf_hub_download, snapshot_download, try_to_load_from_cache
from tqdm.auto import tqdm

from captioner.engine.checkpoint import INDEX_FILE, SINGLE_FILE, read_shards, weight_files
from captioner.errors import ModelError
from captioner.system.paths import expand_user

log = logging.getLogger(__name__)

SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.ttf")  # a font with which ERNIE 4.5 VL writes the times
SUBFOLDERS = ("*/*",)  # original weights, ONNX and the like

# What the HTTP library of the installed huggingface_hub raises for variables such as HTTPS_PROXY.
_http = importlib.import_module(errors.HTTPError.__module__.partition(".")[0])
BAD_PROXY = (ValueError, ImportError, _http.InvalidURL)

OnBytes = Callable[[int, int], None]  # (bytes so far, total bytes)


def find_model(source: str, offline: bool, cache: Path | None, on_bytes: OnBytes = lambda done, total: None) -> Path:
    """Return the folder with the model's files, after downloading them if needed. Raises ModelError with one line."""
    folder = Path(expand_user(source))
    if os.path.isdir(folder):  # noqa: PTH112 - any text can be given
        return folder.resolve()
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise ModelError(f"no model folder at {source}; give a folder with config.json, or a Hub id owner/name")
    try:
        return Path(_download(source, offline, cache, on_bytes))
    except (OSError, errors.HFValidationError, errors.HTTPError, *BAD_PROXY) as error:
        raise ModelError(_describe(error, source, offline) + _proxy_hint(error, offline)) from None


def is_here(source: str, cache: Path | None) -> bool:
    """Return whether a model needs no download: it is a local folder, or its configuration is in the Hub's cache."""
    if os.path.isdir(expand_user(source)) or source.count("/") != 1:  # noqa: PTH112 - any text can be given
        return True
    return isinstance(try_to_load_from_cache(source, "config.json", cache_dir=cache), str)


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
    select: dict[str, Any] = {"cache_dir": cache, "ignore_patterns": list(SUBFOLDERS)}
    if offline:
        return _find_in_cache(source, select)
    try:
        plan = snapshot_download(source, dry_run=True, allow_patterns=[*SMALL_FILES, "*.safetensors"], **select)
    except errors.DryRunError:  # hides the cause; the next call raises it unless the files are in the cache
        snapshot_download(source, allow_patterns=list(SMALL_FILES), **select)
        return _find_in_cache(source, select)
    weights = _weights(source, {file.filename for file in plan}, cache)
    others = (".safetensors", INDEX_FILE)  # the index file is there by now
    plan = [file for file in plan if file.filename in weights or not file.filename.endswith(others)]
    total = sum(file.file_size or 0 for file in plan if file.will_download)
    if total:
        log.info("downloading %s, %.1f GB", source, total / 1e9)
        on_bytes(0, total)
    return snapshot_download(
        source, tqdm_class=_reporter(total, on_bytes), allow_patterns=[*SMALL_FILES, *weights], **select
    )


def _find_in_cache(source: str, select: dict[str, Any]) -> str:
    folder = Path(snapshot_download(source, local_files_only=True, allow_patterns=list(SMALL_FILES), **select))
    is_sharded = (folder / INDEX_FILE).is_file() and not (folder / SINGLE_FILE).is_file()
    weights = set(read_shards(folder / INDEX_FILE).values()) if is_sharded else {SINGLE_FILE}
    return snapshot_download(source, local_files_only=True, allow_patterns=[*SMALL_FILES, *weights], **select)


def _weights(source: str, names: set[str], cache: Path | None) -> list[str]:
    """Return the names of the files that transformers will load, from the repository's index file if it needs one."""
    shards: set[str] = set()
    if SINGLE_FILE not in names and INDEX_FILE in names:
        shards = set(read_shards(Path(hf_hub_download(source, INDEX_FILE, cache_dir=cache))).values())
    return weight_files(names, shards)


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
