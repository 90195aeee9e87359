"""The public endpoints for programs and agents. All other events of the page are private."""

import functools
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

import gradio as gr
from pydantic import ValidationError, validate_call

from captioner.config.presets import PRESETS
from captioner.errors import CaptionerError, JobError
from captioner.formatting import sendable
from captioner.jobs.progress import Progress
from captioner.library.file_states import STATES
from captioner.library.lookup import Entry
from captioner.services import Services

MAX_LISTED = 1000
MAX_FAILURES = 20
PROGRESS_KEYS = (
    "job", "stage", "reason", "model", "total", "done", "failed", "skipped", "queued_jobs", "tokens", "bytes_done",
    "bytes_total",
)  # fmt: skip
REPLICA_KEYS = ("name", "state", "detail", "running", "slots")


class Api:
    """The endpoints. Clients and agents read their docstrings; Gradio reads one line for each argument."""

    def __init__(self, services: Services) -> None:
        self._services, self._library = services, services.library

    def open_folder(self, folder: str, recursive: bool = False) -> dict:
        """Open a folder on the machine that runs the app and find its videos and images. It becomes the current folder
        of the page, too.

        Args:
            folder: Path of the folder, such as /data/clips or ~/clips.
            recursive: True to include its subfolders.
        Returns:
            The folder, the number of files in each state, and notes on files that could not be read.
        """
        self._services.open_folder(self._services.roots.resolve(folder.strip()), recursive)
        scan = self._library.scan
        self._services.change_settings({"folder": scan.folder, "recursive": scan.recursive})
        warnings = [sendable(warning) for warning in scan.warnings]
        return self._about_folder() | {"recursive": scan.recursive, "warnings": warnings}

    def start(
        self,
        names: list[str] | None = None,
        existing: Literal["as set", "skip", "overwrite", "prefix", "append"] = "as set",
    ) -> dict:
        """Start a job that captions files of the current folder and return at once; `status` reports its progress. A
        job that is started while another one runs waits for it.

        Args:
            names: Names of the files as `list` returns them; all files if omitted.
            existing: What to do with files that have a caption; the settings, "as set", usually skip them.
        Returns:
            The number of the job, and how many files it was given.
        """
        known = {sendable(item.name): item.name for item in self._library.items}
        unknown = [name for name in names or () if name not in known]
        if unknown:
            raise JobError(f"no such file in the open folder: {unknown[0]}")
        chosen = None if names is None else {known[name] for name in names}
        job = self._services.start(chosen, None if existing == "as set" else existing)
        return {"job": job, "files": len(known if chosen is None else chosen)}

    def stop(self, job: int = 0) -> dict:
        """Stop captioning. Finished captions stay; files in progress get none.

        Args:
            job: Number of the job to stop; 0 stops the running job and all waiting ones.
        Returns:
            The status, in which the stage becomes "stopped" within a second or so.
        """
        self._services.jobs.stop(job or None)
        return self.status()

    def status(self) -> dict:
        """Return the progress of the current or last job: its stage (idle, loading, running, done, stopped or failed)
        with a reason; the numbers of files done, failed, skipped and in total; speed; seconds elapsed and remaining.

        Returns:
            The progress, the files in progress, the last failures, the devices, and the open folder with its counts.
        """
        events = self._services.events
        return describe(events.snapshot(), events.now_s()) | self._about_folder()

    def list_files(
        self, offset: int = 0, limit: int = 100, state: Literal["all", "pending", "done", "failed", "edited"] = "all"
    ) -> dict:
        """List the files of the current folder, page by page, with the beginning of each caption.

        Args:
            offset: Index of the first file to list; use next_offset of the previous page.
            limit: Maximum number of files to list, up to 1000.
            state: List only files in this state: pending (no caption), done, failed, or edited (by hand).
        Returns:
            The files, the total number in that state, and next_offset, which is null on the last page.
        """
        if offset < 0 or not 1 <= limit <= MAX_LISTED:
            raise JobError(f"offset must be 0 or more, and limit from 1 to {MAX_LISTED}")
        listing = self._library.listing()
        found = [i for i, number in enumerate(listing["states"]) if state in ("all", STATES[number])]
        page = found[offset : offset + limit]
        rows = self._library.lookup.rows([listing["names"][index] for index in page])
        if self._library.scan.id != listing["scan"]:
            raise JobError("another folder was opened; list again from the start")
        end = offset + len(page)
        files = [_listed(listing, row["index"], row) for row in rows]
        return {"files": files, "total": len(found), "next_offset": end if end < len(found) else None}

    def get_caption(self, name: str) -> dict:
        """Read the caption of one file.

        Args:
            name: Name of the file as `list` returns it.
        Returns:
            The name, the state, the whole caption, and the problem if captioning it failed or its text is a guess.
        """
        return _entry(self._find(name))

    def set_caption(self, name: str, caption: str, expected: str | None = None, replace_guess: bool = False) -> dict:
        """Write the caption of one file. The previous caption is kept in the history.

        Args:
            name: Name of the file as `list` returns it.
            caption: The new caption; an empty one leaves the file without a caption.
            expected: The caption to replace; nothing is written if the file has another caption by now.
            replace_guess: True to replace a caption that is not UTF-8, and so perhaps was read wrong.
        Returns:
            The file as `get_caption` returns it, with the caption as it was written.
        """
        entry = self._find(name)
        self._library.edits.save(entry.item, caption, expected, replace_guess)
        return _entry(self._find(name))

    def models(self) -> list[dict]:
        """List the known models and mark the chosen one.

        Returns:
            The models, with the GPU memory that each needs in GB (10^9 bytes), or null if unknown.
        """
        chosen = self._services.preset()
        keys = ("key", "title", "source", "vram_gb", "notes")
        known = [*PRESETS, *([chosen] if chosen not in PRESETS else [])]
        return [{key: getattr(p, key) for key in keys} | {"chosen": p == chosen} for p in known]

    def _about_folder(self) -> dict:
        folder = self._library.folder
        counts = asdict(self._library.counts())
        counts["elsewhere"] = counts.pop("changed_outside")  # clients know it by this name
        return {"folder": folder and sendable(str(folder)), "files": counts}

    def _find(self, name: str) -> Entry:
        entry = self._library.lookup.find(name)
        if entry is None:
            raise JobError(f"no such file in the open folder: {name}")
        return entry


def endpoints(api: Api) -> dict[str, Callable]:
    """Return the functions by endpoint name."""
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
    """Add the endpoints to the current Blocks."""
    for name, function in endpoints(Api(services)).items():
        gr.api(checked(function, name), api_name=name)


def check_mcp() -> None:
    """Raise CaptionerError if the packages for `launch(mcp_server=True)` are missing; Gradio's message is ten lines."""
    if importlib.util.find_spec("mcp") is None:
        raise CaptionerError('--mcp needs another package: pip install "gradio[mcp]"')


def checked(function: Callable, name: str) -> Callable:
    """Return the function under the name of its endpoint, with its arguments validated and its errors in one line."""
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


def describe(progress: Progress, now_s: float) -> dict:
    """Return a snapshot as JSON values."""
    elapsed_s = (progress.ended_s or now_s) - progress.started_s if progress.started_s else 0.0
    failures = progress.failures[:MAX_FAILURES]
    return {key: getattr(progress, key) for key in PROGRESS_KEYS} | {
        "tokens_per_s": round(progress.tokens_per_s, 1),
        "elapsed_s": round(elapsed_s, 1),
        "eta_s": None if progress.eta_s is None else round(progress.eta_s, 1),
        "running": [{"name": sendable(name), "tokens": tokens} for name, tokens in progress.running],
        "failures": [{"name": sendable(name), "reason": sendable(reason)} for name, reason in failures],
        "replicas": [{key: getattr(replica, key) for key in REPLICA_KEYS} for replica in progress.replicas],
    }


def _listed(listing: dict, index: int, row: dict) -> dict:
    return {
        "name": sendable(listing["names"][index]),
        "kind": "video" if listing["kinds"][index] else "image",
        "state": STATES[row["state"]],
        "size_bytes": listing["sizes"][index],
        "duration_s": row["duration"] or None,
        "caption": row["preview"],
        "caption_length": row["length"],
        "problem": sendable(row["problem"] or (row["doubt"] and f"the caption is {row['doubt']}")),
    }


def _entry(entry: Entry) -> dict:
    name, doubt = sendable(entry.item.name), f"the caption is {entry.doubt}" if entry.doubt else ""
    problem = sendable(entry.problem) or doubt
    return {"name": name, "state": entry.state, "caption": entry.text, "problem": problem}
