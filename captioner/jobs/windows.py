"""Long clips that are captioned window by window, and then as a whole from the captions of the windows."""

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from captioner.captions.store import CaptionStore
from captioner.captions.unwritten import FileStamp
from captioner.dataset.subtitles import FORMATS, Cue
from captioner.errors import CaptionError
from captioner.formatting import clock
from captioner.jobs.job import Job
from captioner.jobs.outcomes import Outcomes
from captioner.jobs.window_notes import part_note, summary_note
from captioner.media.spans import Span, plans_of
from captioner.system.files import write_private
from captioner.values import Caption, MediaItem, SamplePlan


@dataclass
class _Clip:
    """A clip with several windows. Its caption is only written if the file is still the one that was begun."""

    windows: tuple[Span, ...]
    plans: list[SamplePlan]  # of the windows, then of the whole clip
    stamp: FileStamp | None
    texts: list[str] = field(default_factory=list)

    @property
    def cues(self) -> list[Cue]:
        return [Cue(start_s, end_s, text) for (start_s, end_s), text in zip(self.windows, self.texts, strict=True)]


class Windows:
    """The clips of one job whose windows are being captioned, one after another. Used by the thread that runs the job.

    What it holds ends with the job: a job that is resumed begins a clip without a caption with its first window.
    """

    def __init__(self, job: Job, store: CaptionStore, outcomes: Outcomes) -> None:
        self._plan = job.plan if job.save else replace(job.plan, windows="none")
        self._form, self._beside = job.target.caption_form, job.windows_beside
        self._files, self._outcomes = store.files, outcomes
        self._folder = store.database.path.parent / "windows"
        self._clips: dict[str, _Clip] = {}  # by the names of the items
        self._is_noted = False

    def plan(self, name: str) -> SamplePlan:
        """Return the frames to take next: of a window, or a few of the whole clip once all windows have captions."""
        clip = self._clips.get(name)
        return clip.plans[len(clip.texts)] if clip else self._plan

    def note(self, name: str) -> str:
        """Return what to tell the model behind the prompt about the captions so far; "" for a first window."""
        clip = self._clips.get(name)
        if clip is None:
            return ""
        if len(clip.texts) == len(clip.windows):
            return summary_note(clip.cues)
        return part_note(clip.windows[len(clip.texts)], clip.texts[-1])

    def wants(self, item: MediaItem, caption: Caption, stamp: FileStamp | None) -> bool:
        """Keep the caption of a window, and return whether the clip has to be asked about again.

        stamp: of the file when it was given to the model.
        """
        clip = self._clips.get(item.name)
        if clip is None:
            found = caption.facts.windows_s
            if not found:
                return False
            clip = self._clips[item.name] = _Clip(found, plans_of(self._plan, found), stamp)
        if len(clip.texts) == len(clip.windows):
            return False
        clip.texts.append(self._form.clean(caption.text, caption.facts))
        return len(clip.windows) > 1

    def where(self, name: str) -> str:
        """Return which window of a clip is being captioned, in words that precede a reason; "" if there are none."""
        clip = self._clips.get(name)
        if clip is None or len(clip.texts) == len(clip.windows):
            return ""
        times = "{} to {}".format(*map(clock, clip.windows[len(clip.texts)]))
        return f"window {len(clip.texts) + 1} of {len(clip.windows)} ({times}): "

    def forget(self, name: str) -> None:
        """Drop what is known of a clip."""
        self._clips.pop(name, None)

    def finish(self, item: MediaItem, stamp: FileStamp | None) -> FileStamp | None:
        """Write the windows of a clip, if it has any; return the stamp of the file when it was begun.

        stamp: when it was last given to the model. Windows that cannot be written cost nothing but a note.
        """
        clip = self._clips.pop(item.name, None)
        if clip is None:
            return stamp
        base = self._base(item)
        try:
            for extension, write in FORMATS.items():
                data = write(clip.cues, item.filename).encode("utf-8", "replace")
                self._write(base.parent / f"{base.name}{extension}", data)
        except (OSError, CaptionError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._outcomes.note(f"the windows of {item.path} cannot be written to {base.parent}: {reason}")
        else:
            if not self._is_noted:
                self._is_noted = True
                self._outcomes.note(f"the windows of each clip are in {base.parent} as .srt, .vtt and .jsonl")
        return clip.stamp

    def _write(self, path: Path, data: bytes) -> None:
        if self._beside:
            self._files.replace(path, data)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, data)

    def _base(self, item: MediaItem) -> Path:
        """Return the path of the files of an item without their extensions, which no other item of the folder has."""
        stem = Path(item.caption_name).stem
        if self._beside:
            return item.folder / f"{stem}.windows"  # others may have subtitles of the clip's own name there
        scanned, parent = item.scanned_folder, item.name.rpartition("/")[0]
        digest = hashlib.sha256(os.fsencode(scanned)).hexdigest()[:8]
        return self._folder / f"{scanned.name or 'disk'}-{digest}" / parent / stem
