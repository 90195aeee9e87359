"""The public endpoints: what a program or an agent can do with the app. Everything else on the page is private."""

import functools
import importlib.util
import inspect
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

import gradio as gr
from pydantic import ValidationError, validate_call

from captioner.config.presets import PRESETS
from captioner.errors import CaptionerError, JobError
from captioner.jobs.progress import Progress
from captioner.library.file_states import STATES
from captioner.library.library import Library
from captioner.library.lookup import Entry
from captioner.services import Services

MAX_LISTED = 1000
FAILURES_TOLD = 20


class Api:
    """The endpoints. Their docstrings are what clients and agents read; Gradio reads one line for each argument."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @property
    def _library(self) -> Library:
        return self._services.library

    def open_folder(self, folder: str, recursive: bool = False) -> dict:
        """Open a folder on the machine that runs the app and list its videos and images. It becomes the current folder,
        for the page too.

        Args:
            folder: Path of the folder, such as /data/clips or ~/clips.
            recursive: Whether to include the folders inside it.
        Returns:
            The folder, the number of files in each state, and notes on files that could not be read.
        """
        self._services.open_folder(self._services.roots.resolve(folder.strip()), recursive)
        scan = self._library.scan
        self._services.change_settings({"folder": scan.folder, "recursive": scan.recursive})
        warnings = [as_text(warning) for warning in scan.warnings]
        return self._about_folder() | {"recursive": scan.recursive, "warnings": warnings}

    def start(
        self,
        names: list[str] | None = None,
        existing: Literal["as set", "skip", "overwrite", "prefix", "append"] = "as set",
    ) -> dict:
        """Start to caption files of the current folder and return at once; ask `status` how it goes. A job that is
        started while another one runs waits for it.

        Args:
            names: Names of the files as `list` gives them; all files if left out.
            existing: What to do with files that have a caption; the app is usually set to skip them.
        Returns:
            The number of the job and how many files were chosen.
        """
        known = {as_text(item.name): item.name for item in self._library.items}
        unknown = [name for name in names or () if name not in known]
        if unknown:
            raise JobError(f"no such file in the open folder: {unknown[0]}")
        chosen = None if names is None else {known[name] for name in names}
        job = self._services.start(chosen, None if existing == "as set" else existing)
        return {"job": job, "files": len(known if chosen is None else chosen)}

    def stop(self, job: int = 0) -> dict:
        """Stop captioning. What is finished stays; the files in work are left without a caption.

        Args:
            job: Number of the job to stop; 0 for all that run or wait.
        Returns:
            The status, in which the stage becomes "stopped" within a second or so.
        """
        self._services.jobs.stop(job or None)
        return self.status()

    def status(self) -> dict:
        """How the current or last job goes: its stage (idle, loading, running, done, stopped or failed) with a reason,
        how many files are done, failed, skipped and in all, the speed, and the seconds so far and left.

        Returns:
            All that, the files in work, the last failures, the devices, and the open folder with its counts.
        """
        return describe(self._services.events.snapshot(), time.time()) | self._about_folder()

    def list_files(
        self,
        offset: int = 0,
        limit: int = 100,
        state: Literal["all", "pending", "done", "failed", "edited"] = "all",
    ) -> dict:
        """List the files of the current folder, page by page, with their captions' beginnings.

        Args:
            offset: How many files to leave out from the start; next_offset of the page before.
            limit: How many files to list, at most 1000.
            state: Only files in this state: pending (no caption), done, failed, or edited (by hand).
        Returns:
            The files, how many there are in that state, and next_offset, which is null on the last page.
        """
        if offset < 0 or not 1 <= limit <= MAX_LISTED:
            raise JobError(f"give an offset from 0 and a limit from 1 to {MAX_LISTED}")
        listing = self._library.listing()
        found = [i for i, number in enumerate(listing["states"]) if state in ("all", STATES[number])]
        page = found[offset : offset + limit]
        rows = self._library.lookup.rows([listing["names"][index] for index in page])
        if self._library.scan.id != listing["scan"]:
            raise JobError("another folder was opened meanwhile; list again from the start")
        files = [_listed(listing, row["index"], row) for row in rows]
        following = offset + len(page)
        return {"files": files, "total": len(found), "next_offset": following if following < len(found) else None}

    def get_caption(self, name: str) -> dict:
        """Read the caption of one file.

        Args:
            name: Name of the file as `list` gives it.
        Returns:
            The name, the state, the whole caption, and why it failed if it did.
        """
        return _entry(self._find(name))

    def set_caption(self, name: str, caption: str, expected: str | None = None) -> dict:
        """Write the caption of one file, as one line. The text that stood there is kept in the history.

        Args:
            name: Name of the file as `list` gives it.
            caption: The new text; an empty one leaves the file without a caption.
            expected: The text that should be replaced; nothing is written if another one stands there by now.
        Returns:
            The file as `get_caption` gives it, with the text as it was written.
        """
        entry = self._find(name)
        self._library.edits.save(entry.item, caption, expected)
        return _entry(self._find(name))

    def models(self) -> list[dict]:
        """List the models that the app knows, and which one is chosen.

        Returns:
            The models, with the GPU memory that each needs in GB (10^9 bytes), or null where that is not known.
        """
        chosen = self._services.preset()
        keys = ("key", "title", "source", "vram_gb", "notes")
        known = [*PRESETS, *([chosen] if chosen not in PRESETS else [])]
        return [{key: getattr(p, key) for key in keys} | {"chosen": p == chosen} for p in known]

    def _about_folder(self) -> dict:
        folder = self._library.folder
        return {"folder": folder and as_text(str(folder)), "files": asdict(self._library.counts())}

    def _find(self, name: str) -> Entry:
        entry = self._library.lookup.find(name)
        if entry is None:
            raise JobError(f"no such file in the open folder: {name}")
        return entry


def endpoints(api: Api) -> dict[str, Callable]:
    """The functions by the names of their endpoints."""
    return {
        "open_folder": api.open_folder,
        "start": api.start,
        "stop": api.stop,
        "status": api.status,
        "list": api.list_files,
        "get_caption": api.get_caption,
        "set_caption": api.set_caption,
        "models": api.models,
    }


def public_api(services: Services) -> None:
    """Add the endpoints to the Blocks that is being built."""
    for name, function in endpoints(Api(services)).items():
        gr.api(checked(function, name), api_name=name)


def check_mcp() -> None:
    """Raises CaptionerError when the packages for `launch(mcp_server=True)` are missing; Gradio would say it in ten
    lines."""
    if importlib.util.find_spec("mcp") is None:
        raise CaptionerError('--mcp needs another package: pip install "gradio[mcp]"')


def checked(function: Callable, name: str) -> Callable:
    """The function with its arguments checked by their types, and its errors told in one line.

    name: what an agent calls it.
    """
    call = validate_call(function)
    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except CaptionerError as error:
            message = str(error)
        except ValidationError as error:
            first = error.errors()[0]
            place = first["loc"][0]
            message = f"{names[place] if isinstance(place, int) else place}: {first['msg']}"
        raise gr.Error(message, print_exception=False)

    wrapper.__name__ = name
    return wrapper


def as_text(name: str) -> str:
    """A file name as it can be sent: half a character becomes ?."""
    return name.encode("utf-8", "replace").decode()


def describe(progress: Progress, now_s: float) -> dict:
    """A snapshot as JSON values."""
    elapsed_s = (progress.ended_s or now_s) - progress.started_s if progress.started_s else 0.0
    keys = ("job", "stage", "reason", "model", "total", "done", "failed", "skipped", "queued_jobs", "tokens")
    keys += ("bytes_done", "bytes_total")
    return {key: getattr(progress, key) for key in keys} | {
        "tokens_per_s": round(progress.tokens_per_s, 1),
        "elapsed_s": round(elapsed_s, 1),
        "eta_s": None if progress.eta_s is None else round(progress.eta_s, 1),
        "running": [{"name": as_text(name), "tokens": tokens} for name, tokens in progress.running],
        "failures": [
            {"name": as_text(name), "reason": as_text(reason)} for name, reason in progress.failures[:FAILURES_TOLD]
        ],
        "replicas": [
            {"name": r.name, "state": r.state, "detail": r.detail, "running": r.running, "slots": r.slots}
            for r in progress.replicas
        ],
    }


def _listed(listing: dict, index: int, row: dict) -> dict:
    return {
        "name": as_text(listing["names"][index]),
        "kind": "video" if listing["kinds"][index] else "image",
        "state": STATES[row["state"]],
        "size_bytes": listing["sizes"][index],
        "duration_s": row["duration"] or None,
        "caption": row["preview"],
        "caption_length": row["length"],
        "problem": as_text(row["problem"]),
    }


def _entry(entry: Entry) -> dict:
    name, problem = as_text(entry.item.name), as_text(entry.problem)
    return {"name": name, "state": entry.state, "caption": entry.text, "problem": problem}
