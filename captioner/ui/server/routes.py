"""What the page fetches by itself: the list of files, thumbnails, originals, contact sheets, captions as a zip.

All are GET and change nothing. Files are named by the ids of the grid, so no path comes from outside.

Threads: the 40 that all handlers of the page share do nothing here that takes long. What decodes a file or reads
thousands of them waits on the event loop for one of a few threads of its own (serving.Workers), so that no number of
galleries being scrolled can keep the pulse waiting.
"""

import functools
import gzip
import hashlib
import logging
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO, Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse

from captioner.errors import CaptionError, MediaError
from captioner.library.library import Scan
from captioner.library.lookup import Entry
from captioner.media import thumbnail as thumbnails
from captioner.media.discover import check_file
from captioner.media.thumbnail import Thumbnail, Thumbnails
from captioner.services import Services
from captioner.ui.gallery.grid import find_entry, parse_ranges, to_ranges
from captioner.ui.gallery.sheet import num_seen, sheet_plan
from captioner.ui.server.workers import GuardedRoute, Workers, has_version, json_answer, require_login, to_json
from captioner.values import MediaItem

log = logging.getLogger(__name__)

PREFIX = "/gradio_api/vcs"  # below Gradio's own prefix, which every proxy in front of Gradio lets pass
MAX_ROWS = 400
KEPT_LIST_S = 1.0
SHEET_WORKERS, KEPT_SHEETS = 2, 20  # some 300 KB each
ZIP_IN_MEMORY = 8_000_000  # bytes; a larger one goes through a temporary file
CHUNK_BYTES = 256 * 1024

FOR_A_DAY = {"Cache-Control": "private, max-age=86400"}  # what an id names stays the same
IF_UNCHANGED = "private, no-cache"

CONTENT_TYPES = {
    "mp4": "video/mp4", "m4v": "video/mp4", "mov": "video/quicktime", "mkv": "video/x-matroska", "webm": "video/webm",
    "avi": "video/x-msvideo", "flv": "video/x-flv", "wmv": "video/x-ms-wmv", "mpeg": "video/mpeg", "mpg": "video/mpeg",
    "ts": "video/mp2t", "jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif",
    "webp": "image/webp", "bmp": "image/bmp", "tif": "image/tiff", "tiff": "image/tiff", "avif": "image/avif",
}  # fmt: skip
BROKEN = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 180" fill="none" stroke="#888" stroke-width="4">'
    b'<path d="M134 62h52v58h-52zM134 120l20-26 13 13 6-9 13 22M126 130l68-80"/></svg>'
)
NO_SUCH_FILE = "no such file in the open folder; open the folder again"


def media_routes(services: Services) -> APIRouter:
    """For `launch(app_kwargs={"routes": media_routes(services).routes})`, which puts them behind Gradio's own login."""
    answers = _Answers(services)
    router = APIRouter(prefix=PREFIX, route_class=GuardedRoute, dependencies=[Depends(require_login)])
    for path, answer in (
        ("/list.json", answers.listing),
        ("/rows.json", answers.rows),
        ("/search.json", answers.search),
        ("/thumb/{entry_id}.jpg", answers.thumbnail),
        ("/media/{entry_id}", answers.original),
        ("/sheet/{entry_id}.jpg", answers.sheet),
        ("/captions.zip", answers.captions),
    ):
        router.add_api_route(path, answer, response_model=None, include_in_schema=False)
    return router


class _Answers:
    def __init__(self, services: Services) -> None:
        self._services, self._library = services, services.library
        self._thumbnails = Thumbnails(services.folder / "thumbnails", services.sandbox.thumbnail)
        self._make_sheet = functools.lru_cache(KEPT_SHEETS)(services.sandbox.sheet)
        self._makers, self._decoders, self._packers = Workers(thumbnails.WORKERS), Workers(SHEET_WORKERS), Workers(1)
        self._list_lock = threading.Lock()
        self._list = ("", 0.0, ("", b"", b""))  # scan, until when, what

    # The list

    def listing(self, request: Request) -> Response:
        """Compressed here, for Gradio would do it anew for each browser and take ten times as long."""
        etag, plain, packed = self._current_list()
        headers = {"ETag": etag, "Cache-Control": IF_UNCHANGED, "Vary": "Accept-Encoding"}
        if has_version(request, etag):
            return Response(status_code=304, headers=headers)
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(plain, media_type="application/json", headers=headers)
        return Response(packed, media_type="application/json", headers=headers | {"Content-Encoding": "gzip"})

    def _current_list(self) -> tuple[str, bytes, bytes]:
        """(ETag, JSON, the same in gzip), made once for all browsers that ask within KEPT_LIST_S.

        An older one does no harm: it holds its revision, from which on a browser asks what has changed. The ETag has a
        checksum too, since lengths and durations become known without a change.
        """
        with self._list_lock:
            scan, until_s, kept = self._list
            if scan != self._library.scan.id or time.monotonic() >= until_s:
                columns = self._library.listing()
                plain = to_json(columns)
                etag = f'W/"{columns["scan"]}-{columns["revision"]}-{zlib.crc32(plain):x}"'  # weak: of both encodings
                kept = etag, plain, gzip.compress(plain, 1, mtime=0)
                self._list = columns["scan"], time.monotonic() + KEPT_LIST_S, kept
            return kept

    def rows(self, scan: str, ids: str = "") -> Response:
        current = self._checked(scan)
        positions = parse_ranges(ids, len(current.items), MAX_ROWS)
        rows = self._library.lookup.rows([current.items[position].name for position in positions])
        self._checked(scan)
        return json_answer({"scan": scan, "rows": rows})

    def search(self, scan: str, q: Annotated[str, Query(max_length=500)] = "") -> Response:
        found = self._library.lookup.search(q)
        positions = self._checked(scan).positions
        return json_answer({"scan": scan, "ids": to_ranges([positions[name] for name in found])})

    def _checked(self, scan_id: str) -> Scan:
        """Return the scan of the open folder. Raise HTTPException if it is another one than the browser knows.

        Called again after the work, during which another folder may have been opened.
        """
        scan = self._library.scan
        if scan_id != scan.id:
            raise HTTPException(409, "another folder was opened meanwhile")
        return scan

    # One file

    async def thumbnail(self, request: Request, entry_id: str) -> Response:
        kept = await run_in_threadpool(self._thumbnail, entry_id, self._thumbnails.find)
        return kept or await self._makers.run(request, self._thumbnail, entry_id, self._thumbnails.get)

    def _thumbnail(self, entry_id: str, ask: Callable[[MediaItem], Thumbnail | None]) -> Response | None:
        entry = self._entry(entry_id)
        try:
            thumbnail = ask(entry.item)
        except MediaError as error:
            return self._broken(entry, error)
        if thumbnail is None:
            return None
        self._library.note(entry.item, duration_s=thumbnail.duration_s)
        return Response(thumbnail.data, media_type="image/jpeg", headers=FOR_A_DAY)

    def original(self, entry_id: str) -> Response:
        item = self._entry(entry_id).item
        try:
            check_file(item.path, item.kind)
            status = item.path.stat()
        except (MediaError, OSError) as error:
            raise HTTPException(404, str(error) if isinstance(error, MediaError) else "no such file") from None
        return FileResponse(
            item.path,
            headers=FOR_A_DAY,
            media_type=CONTENT_TYPES[item.path.suffix[1:].lower()],
            filename=_sendable(item.filename),
            stat_result=status,
            content_disposition_type="inline",
        )

    async def sheet(self, request: Request, entry_id: str) -> Response:
        return await self._decoders.run(request, self._sheet, request, entry_id)

    def _sheet(self, request: Request, entry_id: str) -> Response:
        entry = self._entry(entry_id)
        made = self._services.captions.provenance(entry.item.caption_path)
        plan = sheet_plan(self._services, num_seen(entry.item, made))
        identity = repr((entry.item.path, entry.item.size_bytes, entry.item.modified_s, plan))
        headers = {"ETag": f'"{hashlib.sha1(identity.encode("utf-8", "replace")).hexdigest()}"'}
        headers["Cache-Control"] = IF_UNCHANGED
        if has_version(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        try:
            return Response(self._make_sheet(entry.item, plan), media_type="image/jpeg", headers=headers)
        except MediaError as error:
            return self._broken(entry, error)

    def _entry(self, entry_id: str) -> Entry:
        entry = find_entry(self._library, entry_id)
        if entry is None or self._services.roots.escapes(entry.item.path):  # it may be a link by now
            raise HTTPException(404, NO_SUCH_FILE)
        return entry

    def _broken(self, entry: Entry, error: MediaError) -> Response:
        """A stand-in; the reason goes to the file's tile."""
        self._library.note(entry.item, problem=str(error))
        if not entry.item.path.exists():
            raise HTTPException(404, str(error))
        return Response(BROKEN, media_type="image/svg+xml")

    # Captions

    async def captions(self, request: Request, scan: str, ids: str | None = None) -> Response:
        items = self._checked(scan).items
        chosen = items if ids is None else [items[position] for position in parse_ranges(ids, len(items))]
        file = await self._packers.run(request, self._zip, chosen)
        if file is None:
            raise HTTPException(404, "none of these files has a caption yet")
        headers = {"Content-Disposition": 'attachment; filename="captions.zip"', "Content-Length": str(file.tell())}
        return StreamingResponse(_chunks(file), media_type="application/zip", headers=headers)

    def _zip(self, items: Sequence[MediaItem]) -> IO[bytes] | None:
        """An open temporary file, at its end, with the captions as they stand on disk; None if there is none."""
        file = tempfile.SpooledTemporaryFile(ZIP_IN_MEMORY)  # noqa: SIM115 - closed by who reads it
        num_written = 0
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for item in items:
                try:
                    text = self._services.captions.read(item.caption_path)
                except CaptionError as error:
                    log.warning("left out of the zip: %s", error)
                    continue
                if text:
                    archive.writestr(_zip_name(item), text)
                    num_written += 1
        if num_written:
            return file
        file.close()
        return None


def _sendable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _zip_name(item: MediaItem) -> str:
    """As in the folder tree. A backslash, which some programs take for a folder's end when they unpack, becomes "_"."""
    name = str(PurePosixPath(item.name).parent / item.caption_name)
    return name.encode("utf-8", "backslashreplace").decode().replace("\\", "_")


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
