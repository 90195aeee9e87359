"""Content: the kind of a file by its first bytes, whatever its extension says."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from captioner.errors import MediaError
from captioner.media.kinds import INSTALL_JXL, KINDS, UNREADABLE
from captioner.system.pinning import Within, pinned
from captioner.values import MediaKind

HEAD_BYTES = 4096
HEIF, JXL = "image/heic", "image/jxl"
_TYPES = (  # the first bytes, and the content type
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"RIFF....WEBP", "image/webp"),
    (rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", "image/bmp"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xffO\xffQ", "image/jp2"),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", JXL),
    (rb"II[*+]\0|MM\0[*+]", "image/tiff"),
    (rb"P[1-6]\s", "image/x-portable-anymap"),
    (rb"....ftyp(?:avif|avis)|....ftyp(?:mif1|msf1|miaf).{0,40}avi[fs]", "image/avif"),
    (rb"....ftyp(?:mif1|miaf|hei[cxms])", HEIF),
    (rb"....ftypqt  ", "video/quicktime"),
    (rb"....(?:ftyp|moov|mdat|wide|free|skip|pnot)", "video/mp4"),
    (rb"\x1aE\xdf\xa3.{0,60}webm", "video/webm"),
    (rb"\x1aE\xdf\xa3", "video/x-matroska"),
    (rb"RIFF....AVI |RIFF....AVIX", "video/x-msvideo"),
    (rb"FLV\x01", "video/x-flv"),
    (rb"0&\xb2u\x8ef\xcf\x11", "video/x-ms-wmv"),
    (rb"OggS", "video/ogg"),
    (rb"\x06\x0e\x2b\x34\x02\x05\x01\x01", "application/mxf"),
    (rb"\0\0\x01[\xba\xb3]", "video/mpeg"),
    (rb"(?s:.{0,207}?)G(?:.{187}G){3}|(?s:.{0,207}?)G(?:.{191}G){3}|(?s:.{0,207}?)G(?:.{203}G){3}", "video/mp2t"),
    (rb"\.RMF|\x1f\x07\0|nut/multimedia|YUV4MPEG2|DKIF", "video/x-other"),
)
_FOREIGN = (  # the first bytes of what is neither, and its name
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself; run git lfs pull"),
    (rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body)", "a web page, not {}; download the file again"),
    (rb"#EXTM3U", "a list of addresses (M3U8), not {}; download what it lists"),
    (rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<svg", "vector graphics (SVG), not {}; convert it to PNG"),
    (rb"....ftypcrx |II\*\0.{4}CR|FUJIFILMCCD-RAW|IIR[OS]|IIU\0", "a camera raw file, not {}; develop it to JPEG"),
    (rb"8BPS", "a Photoshop file, not {}; export it as PNG"),
    (rb"%PDF", "a PDF document, not {}"),
    (rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b", "an archive, not {}; unpack it"),
    (rb"ID3|fLaC|RIFF....WAVE", "a sound file, not {}"),
    (rb"\0{64}", "begins with zeros instead of {}: a download that did not finish; get a complete copy"),
)
_TEXT = re.compile(rb"[^\0-\x08\x0e-\x1a\x1c-\x1f\x7f-\xff]{16,}")
_PATTERNS = [(re.compile(pattern, re.DOTALL), content_type) for pattern, content_type in _TYPES]
_FOREIGN_PATTERNS = [(re.compile(pattern, re.DOTALL | re.IGNORECASE), words) for pattern, words in _FOREIGN]


def check_file(path: Path, kind: MediaKind | None = None, within: Within = None) -> MediaKind:
    """Return the kind of a media file that can be read, as `checked_file` finds it. Raise MediaError."""
    with checked_file(path, kind, within) as (_, kind):
        return kind


@contextlib.contextmanager
def checked_file(path: Path, kind: MediaKind | None = None, within: Within = None) -> Iterator[tuple[Path, MediaKind]]:
    """Yield a path to this very file (see `pinned`) and its kind: by its content, else `kind`, else by its extension.

    Raise MediaError, for what only looks like media as well: web pages, pointers of Git LFS, archives.
    """
    extension = path.suffix[1:].lower()
    kind = kind or KINDS.get(extension)
    if kind is None and extension in UNREADABLE:
        raise MediaError(f"files of this kind cannot be read ({UNREADABLE[extension]})")
    if kind is None:
        raise MediaError(f"not a video or image: its extension is {path.suffix or 'missing'}")
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(pinned(path, within))
            status = held.stat()
        except FileNotFoundError:
            raise MediaError("no such file; it was moved or deleted") from None
        except OSError as error:
            raise MediaError(f"cannot be opened: {error.strerror}") from None
        except ValueError:  # a NUL in the name
            raise MediaError("cannot be opened: no file can have this name") from None
        yield held, _checked_kind(held, kind, status)


def _checked_kind(path: Path, kind: MediaKind, status: os.stat_result) -> MediaKind:
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would block forever
        raise MediaError("a folder, not a file" if stat.S_ISDIR(status.st_mode) else "not a regular file")
    if not status.st_size:
        raise MediaError("file is empty")
    if not os.access(path, os.R_OK):
        raise MediaError("no permission to read it")
    return _checked_content(path, kind)


def content_type(path: Path) -> str:
    """Return the content type of a file by its first bytes, "" if they are unknown. Raises MediaError."""
    return _type_of(_read_head(path))


def _checked_content(path: Path, kind: MediaKind) -> MediaKind:
    head = _read_head(path)
    known = _type_of(head)
    foreign = next((words for pattern, words in _FOREIGN_PATTERNS if pattern.match(head)), "")
    if not (known or foreign) and _TEXT.fullmatch(head):
        foreign = "a text file, not {}"
    if foreign:
        raise MediaError(foreign.format("an image" if kind == "image" else "a video"))
    if known == JXL and "jxl" not in KINDS:
        raise MediaError(f"a JPEG XL picture, which needs a decoder: {INSTALL_JXL}")
    return ("image" if known.startswith("image/") else "video") if known else kind


def _type_of(head: bytes) -> str:
    return next((name for pattern, name in _PATTERNS if pattern.match(head)), "")


def _read_head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise MediaError(f"cannot be opened: {error.strerror}") from None
