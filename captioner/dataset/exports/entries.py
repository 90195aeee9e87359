"""The captioned files of a folder, and the files that are left out with the reason."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from captioner.captions.lines import with_line_feeds
from captioner.captions.store import CaptionStore
from captioner.errors import CaptionerError
from captioner.values import MediaItem


@dataclass(frozen=True)
class Entry:
    """A media file and its caption, whose line breaks are line feeds."""

    item: MediaItem
    caption: str


class LeftOut(NamedTuple):
    """A file that is not exported. The reason is one line."""

    name: str
    reason: str


def read_entries(captions: CaptionStore, items: Iterable[MediaItem]) -> Iterator[Entry | LeftOut]:
    """Read the captions of these files. Nothing is written."""
    for item in items:
        reason, caption = "no caption", ""
        try:
            item.name.encode()
            if item.has_caption:
                caption = with_line_feeds(captions.read_certain(item.caption_path))
        except UnicodeEncodeError:
            reason, caption = "its name is not valid Unicode; rename the file", ""
        except CaptionerError as error:
            reason = str(error)
        yield Entry(item, caption) if caption else LeftOut(item.name, reason)
