"""The app's own routes: the list of files, thumbnails, originals, contact sheets, and captions as a zip.

None changes a file, and all but the pulse are GET. Files are named by the ids of the grid, so no path comes from
outside.

Threads: all handlers of the page share 40 threads. Requests that decode a file or read thousands of them wait on the
event loop for one of a few other threads (routing.Workers), so the page keeps updating however many galleries scroll.
"""

import contextlib
import functools
import gzip
import hashlib
import logging
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import IO, Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from captioner.captions.store import CaptionStore
from captioner.errors import CaptionError, MediaError
from captioner.formatting import sendable
from captioner.library.library import Scan
from captioner.library.lookup import Entry
from captioner.media.content import checked_file, content_type
from captioner.media.thumbnail import Thumbnail
from captioner.media.thumbnail_cache import THUMBNAIL_WORKERS, ThumbnailCache
from captioner.services import Services
from captioner.ui import scripts
from captioner.ui.gallery.grid import find_entry, parse_ranges, to_ranges
from captioner.ui.gallery.panel import sheet_plan
from captioner.ui.server.compared import ComparedMedia
from captioner.ui.server.login import require_login
from captioner.ui.server.pulses import SharedPulse
from captioner.ui.server.routing import (
    CACHE_A_DAY,
    HeldFileResponse,
    PrivateRoute,
    Workers,
    json_response,
    matches_etag,
    to_json,
)
from captioner.values import MediaItem

log = logging.getLogger(__name__)

PREFIX = "/gradio_api/vcs"  # every proxy for Gradio forwards what is below its prefix
MAX_ROWS = 400
LIST_CACHE_S = 1.0
SHEET_WORKERS, MAX_CACHED_SHEETS = 2, 20  # about 300 KB each
ZIP_IN_MEMORY_BYTES = 8_000_000  # a larger zip goes through a temporary file
CHUNK_BYTES = 256 * 1024

REVALIDATE = "private, no-cache"

BROKEN_SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 180" fill="none" stroke="#888" stroke-width="4">'
    b'<path d="M134 62h52v58h-52zM134 120l20-26 13 13 6-9 13 22M126 130l68-80"/></svg>'
)
NO_SUCH_FILE = "no such file in the open folder; open the folder again"


def media_routes(services: Services, pulse: Callable[..., str] | None = None) -> APIRouter:
    """Return the routes for `launch(app_kwargs={"routes": media_routes(services).routes})`; they require the login."""
    handlers = _Handlers(services)
    router = APIRouter(prefix=PREFIX, route_class=PrivateRoute, dependencies=[Depends(require_login)])
    for path, handler in (
        (scripts.ROUTE, scripts.serve),
        ("/list.json", handlers.listing),
        ("/rows.json", handlers.rows),
        ("/outside.json", handlers.outside),
        ("/search.json", handlers.search),
        ("/thumb/{entry_id}.jpg", handlers.thumbnail),
        ("/media/{entry_id}", handlers.original),
        ("/info/{entry_id}.json", handlers.info),
        ("/sheet/{entry_id}.jpg", handlers.sheet),
        ("/captions.zip", handlers.captions),
    ):
        router.add_api_route(path, handler, response_model=None, include_in_schema=False)
    ComparedMedia(services).add_to(router)
    if pulse:
        router.add_api_route("/pulse", SharedPulse(pulse).answer, methods=["POST"], response_model=None)
    return router


class _Handlers:
    def __init__(self, services: Services) -> None:
        self._services, self._library = services, services.library
        self._thumbnails = ThumbnailCache(services.folder / "thumbnails", services.sandbox.thumbnail)
        self._make_sheet = functools.lru_cache(MAX_CACHED_SHEETS)(services.sandbox.sheet)
        self._thumbnail_workers, self._sheet_workers = Workers(THUMBNAIL_WORKERS), Workers(SHEET_WORKERS)
        self._zip_workers = Workers(1)
        self._list_lock = threading.Lock()
        self._list = ("", 0.0, ("", b"", b""))  # scan, expiry time, (ETag, JSON, gzip)

    def listing(self, request: Request) -> Response:
        """Return the list, compressed once for all browsers; Gradio would compress it for each, ten times slower."""
        etag, text, compressed = self._current_list()
        headers = {"ETag": etag, "Cache-Control": REVALIDATE, "Vary": "Accept-Encoding"}
        if matches_etag(request, etag):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"], text = "gzip", compressed
        return Response(text, media_type="application/json", headers=headers)

    def _current_list(self) -> tuple[str, bytes, bytes]:
        """Return (ETag, JSON, gzip of it). An older list does no harm: browsers ask for the changes since then."""
        with self._list_lock:
            scan, expires_s, cached = self._list
            if scan != self._library.scan.id or time.monotonic() >= expires_s:
                columns = self._library.listing()
                plain = to_json(columns)
                # Weak, as it is the same for both encodings; lengths and durations change without a new revision.
                etag = f'W/"{columns["scan"]}-{columns["revision"]}-{zlib.crc32(plain):x}"'
                cached = etag, plain, gzip.compress(plain, 1, mtime=0)
                self._list = columns["scan"], time.monotonic() + LIST_CACHE_S, cached
            return cached

    def rows(self, scan: str, ids: str = "") -> Response:
        """Return what the tiles of up to MAX_ROWS files show."""
        current = self._checked(scan)
        positions = parse_ranges(ids, len(current.items), MAX_ROWS)
        rows = self._library.lookup.rows([current.items[position].name for position in positions])
        self._checked(scan)
        return json_response({"scan": scan, "rows": rows})

    def outside(self, scan: str, ids: str = "") -> Response:
        """Return the rows of those of up to MAX_ROWS files whose captions another program has just changed."""
        positions = parse_ranges(ids, len(self._checked(scan).items), MAX_ROWS)
        return json_response({"scan": scan, "rows": self._library.outside.find(scan, positions)})

    def search(self, scan: str, q: Annotated[str, Query(max_length=500)] = "") -> Response:
        """Return the positions of the files whose name or caption contains all words of `q`."""
        found = self._library.lookup.search(q)
        positions = self._checked(scan).positions
        return json_response({"scan": scan, "ids": to_ranges([positions[name] for name in found])})

    def _checked(self, scan_id: str) -> Scan:
        scan = self._library.scan  # checked again after the work, during which another folder may have been opened
        if scan_id != scan.id:
            raise HTTPException(409, "another folder was opened")
        return scan

    async def thumbnail(self, request: Request, entry_id: str) -> Response | None:
        """Return the thumbnail as a JPEG, or a placeholder if the file cannot be read."""
        cached = await run_in_threadpool(self._thumbnail, entry_id, self._thumbnails.find)
        return cached or await self._thumbnail_workers.run(request, self._thumbnail, entry_id, self._thumbnails.get)

    def _thumbnail(self, entry_id: str, get: Callable[[MediaItem], Thumbnail | None]) -> Response | None:
        entry = self._entry(entry_id)
        try:
            thumbnail = get(entry.item)
        except MediaError as error:
            return self._placeholder(entry, error)
        if thumbnail is None:
            return None
        self._library.note(entry.item, duration_s=thumbnail.duration_s)
        return Response(thumbnail.data, media_type="image/jpeg", headers=CACHE_A_DAY)

    def original(self, entry_id: str) -> Response:
        """Return the file itself, or the part of it that the Range header asks for."""
        item = self._entry(entry_id).item
        with contextlib.ExitStack() as stack:
            try:
                path, _ = stack.enter_context(checked_file(item.path, item.kind, self._services.roots.within))
                kind, status = content_type(path) or "application/octet-stream", path.stat()
            except (MediaError, OSError) as error:
                raise HTTPException(404, str(error) if isinstance(error, MediaError) else "no such file") from None
            return HeldFileResponse(stack.pop_all(), path, kind, sendable(item.filename), status)

    async def info(self, request: Request, entry_id: str) -> Response:
        """Return what is needed to step through the frames of a clip: their number and mean rate."""
        return await self._sheet_workers.run(request, self._info, entry_id)

    def _info(self, entry_id: str) -> Response:
        entry = self._entry(entry_id)
        try:
            info = self._services.sandbox.probe(entry.item.path, entry.item.kind)
        except MediaError as error:
            raise HTTPException(404, str(error)) from None
        return json_response({"fps": info.fps, "frames": info.num_frames, "width": info.width, "height": info.height})

    async def sheet(self, request: Request, entry_id: str) -> Response:
        """Return the frames that the model saw for the caption, or would see now, in one picture."""
        return await self._sheet_workers.run(request, self._sheet, request, entry_id)

    def _sheet(self, request: Request, entry_id: str) -> Response:
        entry = self._entry(entry_id)
        history = self._services.captions.provenance(entry.item.caption_path)
        plan = sheet_plan(self._services, entry.item, history)
        identity = repr((entry.item.path, entry.item.size_bytes, entry.item.modified_s, plan))
        etag = f'"{hashlib.sha1(identity.encode("utf-8", "replace")).hexdigest()}"'
        headers = {"ETag": etag, "Cache-Control": REVALIDATE}
        if matches_etag(request, etag):
            return Response(status_code=304, headers=headers)
        try:
            return Response(self._make_sheet(entry.item, plan), media_type="image/jpeg", headers=headers)
        except MediaError as error:
            return self._placeholder(entry, error)

    def _entry(self, entry_id: str) -> Entry:
        entry = find_entry(self._library, entry_id)
        if entry is None or self._services.roots.escapes(entry.item.path):  # it may have become a link
            raise HTTPException(404, NO_SUCH_FILE)
        return entry

    def _placeholder(self, entry: Entry, error: MediaError) -> Response:
        """Return an icon for a file that cannot be read, and show the reason on its tile."""
        self._library.note(entry.item, problem=str(error))
        if not entry.item.path.exists():
            raise HTTPException(404, str(error))
        return Response(BROKEN_SVG, media_type="image/svg+xml")

    async def captions(self, request: Request, scan: str, ids: str | None = None) -> Response:
        """Return a zip with the captions of the files `ids`, or of all files."""
        items = self._checked(scan).items
        chosen = items if ids is None else [items[position] for position in parse_ranges(ids, len(items))]
        file = await self._zip_workers.run(request, make_zip, chosen, self._services.captions)
        if file is None:
            raise HTTPException(404, "none of these files has a caption yet")
        headers = {"Content-Disposition": 'attachment; filename="captions.zip"', "Content-Length": str(file.tell())}
        return StreamingResponse(read_chunks(file), media_type="application/zip", headers=headers)


def make_zip(items: Iterable[MediaItem], captions: CaptionStore) -> IO[bytes] | None:
    """Return an open temporary file, at its end, with the captions byte for byte, or None if there are none."""
    file = tempfile.SpooledTemporaryFile(ZIP_IN_MEMORY_BYTES)  # noqa: SIM115 - closed by read_chunks()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in items:
            try:
                data = captions.read_file(item.caption_path)
            except CaptionError as error:
                log.warning("left out of the zip: %s", error)
                continue
            if data:
                archive.writestr(_zip_entry(item), data)
        if archive.filelist:
            return file
    file.close()
    return None


def read_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the whole file in chunks and close it."""
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _zip_entry(item: MediaItem) -> zipfile.ZipInfo:
    """Return the entry of an item's caption. A clock of 1970, as on small boards, counts as 1980: zip knows no less."""
    first, last = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
    entry = zipfile.ZipInfo(_name_in_zip(item), min(max(time.localtime()[:6], first), last))
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
    return entry


def _name_in_zip(item: MediaItem) -> str:
    """Return the caption's path below the folder, with "_" for backslashes: some programs unpack them as slashes."""
    name = str(PurePosixPath(item.name).parent / item.caption_path.name)
    return name.encode("utf-8", "backslashreplace").decode().replace("\\", "_")
