"""The media of comparisons: files of a sample, named by their place in it, whatever folder is open."""

import contextlib
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

from captioner.errors import CaptionerError, MediaError
from captioner.formatting import sendable
from captioner.library.comparisons.store import ComparisonStore
from captioner.media.content import checked_file, content_type
from captioner.media.discover import find_item
from captioner.media.thumbnail_cache import THUMBNAIL_WORKERS, ThumbnailCache
from captioner.services import Services
from captioner.ui.server.routing import CACHE_A_DAY, HeldFileResponse, Workers

NO_SUCH_FILE = "no such file in this comparison"


class ComparedMedia:
    """The handlers of the two routes."""

    def __init__(self, services: Services) -> None:
        self._store, self._roots = ComparisonStore(services.folder), services.roots
        self._thumbnails = ThumbnailCache(services.folder / "thumbnails", services.sandbox.thumbnail)
        self._workers = Workers(THUMBNAIL_WORKERS)

    def add_to(self, router: APIRouter) -> None:
        """Add the routes to those that require the login."""
        for path, handler in (
            ("/compare/{number}/{position}.jpg", self.thumbnail),
            ("/compare/{number}/{position}", self.original),
        ):
            router.add_api_route(path, handler, response_model=None, include_in_schema=False)

    def original(self, number: int, position: int) -> Response:
        """Return the file itself, or the part of it that the Range header asks for."""
        path = self._path(number, position)
        with contextlib.ExitStack() as stack:
            try:
                kind = find_item(path).kind
                checked, _ = stack.enter_context(checked_file(path, kind, self._roots.within))
                media_type, status = content_type(checked) or "application/octet-stream", checked.stat()
            except (MediaError, OSError):
                raise HTTPException(404, NO_SUCH_FILE) from None
            return HeldFileResponse(stack.pop_all(), checked, media_type, sendable(path.name), status)

    async def thumbnail(self, request: Request, number: int, position: int) -> Response:
        """Return a picture of the file, for clips that the browser cannot play."""
        return await self._workers.run(request, self._thumbnail, self._path(number, position))

    def _thumbnail(self, path: Path) -> Response:
        try:
            made = self._thumbnails.get(find_item(path))
        except MediaError:
            raise HTTPException(404, NO_SUCH_FILE) from None
        return Response(made.data, media_type="image/jpeg", headers=CACHE_A_DAY)

    def _path(self, number: int, position: int) -> Path:
        try:
            comparison = self._store.get(number)
            self._roots.resolve(comparison.folder_path)
        except CaptionerError:
            raise HTTPException(404, NO_SUCH_FILE) from None
        if not 0 <= position < len(comparison.files):
            raise HTTPException(404, NO_SUCH_FILE)
        path = comparison.path(comparison.files[position])
        if self._roots.escapes(path):
            raise HTTPException(404, NO_SUCH_FILE)
        return path
