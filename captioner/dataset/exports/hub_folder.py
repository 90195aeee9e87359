"""The folder layout that the library `datasets` and the Hugging Face Hub read: media beside a metadata.jsonl."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from captioner.dataset.exports.entries import Entry, LeftOut
from captioner.dataset.exports.placement import new_folder, unreadable
from captioner.values import MediaKind

# What `datasets` 5.2 takes for a clip (packaged_modules/videofolder).
CLIP_EXTENSIONS = ("mkv", "mp4", "avi", "mpeg", "mov")


def write_hub_folder(
    to: Path, media_folders: set[Path], entries: Iterable[Entry | LeftOut], left_out: list[LeftOut]
) -> int:
    """Write the folder and return the number of files. Media are hard links where possible, else copies.

    Clips and images are two data sets, in the folders `videos` and `images`, if there are both. The list lies in the
    folder `train` with the media, since one above it is ignored (datasets issue 7599). Raise CaptionerError.
    """
    lines: dict[MediaKind, list[str]] = {}
    with new_folder(to, media_folders) as folder:
        for entry in entries:
            problem = _place(folder, entry) if isinstance(entry, Entry) else entry.reason
            if problem or isinstance(entry, LeftOut):
                left_out.append(entry if isinstance(entry, LeftOut) else LeftOut(entry.item.name, problem))
                continue
            row = json.dumps({"file_name": entry.item.name, "text": entry.caption})
            lines.setdefault(entry.item.kind, []).append(f"{row}\n")
        for kind, rows in lines.items():
            (folder / f"{kind}s" / "train" / "metadata.jsonl").write_text("".join(rows), encoding="ascii")
        if len(lines) == 1:
            [kind] = lines
            (folder / f"{kind}s" / "train").rename(folder / "train")
            (folder / f"{kind}s").rmdir()
    return sum(len(rows) for rows in lines.values())


def _place(folder: Path, entry: Entry) -> str:
    """Put a media file into the folder; return why that is not possible, or "". Raise OSError."""
    item = entry.item
    extension = item.filename.rpartition(".")[2].lower()
    if item.kind == "video" and extension not in CLIP_EXTENSIONS:
        return f"datasets reads no .{extension} clips, only {', '.join(CLIP_EXTENSIONS)}"
    if "::" in item.name:
        return "datasets reads no names with ::; rename the file"
    if problem := unreadable(item.path):
        return problem
    target = folder / f"{item.kind}s" / "train" / item.name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(os.path.realpath(item.path), target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(item.path, target)
    return ""
