"""Routes for the pictures on the page: thumbnails, and contact sheets of what the model sees. Made when asked for."""

import functools
import io
import threading

from fastapi import APIRouter, Response
from PIL import Image

from captioner.errors import CaptionerError, MediaError
from captioner.frames import sample
from captioner.media import probe
from captioner.services import Services
from captioner.settings import sampling_plan
from captioner.sheet import contact_sheet
from captioner.ui.shelf import Shelf
from captioner.values import MediaInfo, MediaItem, SamplePlan

PREFIX = "/gradio_api/captioner"  # below Gradio's own prefix, so that every proxy in front of Gradio lets it pass
THUMBNAIL_PLAN = SamplePlan(max_frames=1, min_frames=1, frame_size=288)
KEPT_THUMBNAILS, KEPT_SHEETS = 1000, 20  # some 10 KB and 200 KB each
BROKEN = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 288 162" fill="none" stroke="#888" stroke-width="4">'
    b'<path d="M120 54h48v54h-48zM120 108l18-24 12 12 6-8 12 20M112 118l64-72"/></svg>'
)


def picture_routes(services: Services, shelf: Shelf) -> APIRouter:
    """`thumb/<id>` and `sheet/<id>`; ids are those of the shelf's tiles, so no path comes from outside."""
    router = APIRouter(prefix=PREFIX)
    thumbnails, sheets = threading.Semaphore(2), threading.Semaphore(1)

    @router.get("/thumb/{scan}/{index}")
    def thumbnail(scan: str, index: str) -> Response:
        tile = shelf.find(f"{scan}/{index}")
        if tile is None:
            return Response(status_code=404)
        try:
            with thumbnails:
                return _jpeg(make_thumbnail(tile.item))
        except MediaError as error:
            shelf.note(tile.id, problem=str(error))
            return _broken()

    @router.get("/sheet/{scan}/{index}")
    def sheet(scan: str, index: str) -> Response:
        tile = shelf.find(f"{scan}/{index}")
        if tile is None:
            return Response(status_code=404)
        try:
            with sheets:
                picture, info = make_sheet(tile.item, current_plan(services))
        except MediaError as error:
            shelf.note(tile.id, problem=str(error))
            return _broken()
        shelf.note(tile.id, info=info)
        return _jpeg(picture)

    return router


def current_plan(services: Services) -> SamplePlan:
    """The frames that a job started now would take."""
    try:
        return sampling_plan(services.settings, services.preset())
    except CaptionerError:  # an unknown model, which is said beside the setting
        return SamplePlan()


@functools.lru_cache(KEPT_THUMBNAILS)
def make_thumbnail(item: MediaItem) -> bytes:
    """A small JPEG of the first frame. Raises MediaError."""
    frames = sample(item.path, THUMBNAIL_PLAN, item.kind)
    return _encode(Image.fromarray(frames.pixels[0]))


@functools.lru_cache(KEPT_SHEETS)
def make_sheet(item: MediaItem, plan: SamplePlan) -> tuple[bytes, str]:
    """A JPEG of the sampled frames, and the file in words. Raises MediaError."""
    frames = sample(item.path, plan, item.kind)
    count, height, width, _ = frames.pixels.shape
    seen = f"{count} frame{'s' * (count > 1)} of {width}×{height}"
    return _encode(contact_sheet(frames)), f"{describe(probe(item.path, item.kind))} · seen as {seen}"


def describe(info: MediaInfo) -> str:
    parts = [f"{info.width}×{info.height}"]
    if info.duration_s:
        parts += [f"{info.duration_s:.1f} s", f"{info.fps:.4g} fps"]
    return " · ".join([*parts, info.codec])


def _encode(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _jpeg(data: bytes) -> Response:
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})


def _broken() -> Response:
    return Response(BROKEN, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})
