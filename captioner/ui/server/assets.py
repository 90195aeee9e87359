"""Gradio's own scripts and style sheets, from memory: Gradio reads and compresses each again for every page."""

import functools
import gzip
import mimetypes
import os
from collections.abc import Mapping

from fastapi import HTTPException, Request, Response
from gradio.routes import BUILD_PATH_LIB
from starlette.routing import Route

MAX_KEPT = 200  # files; a page needs about 60
COMPRESSED = (".js", ".css", ".svg", ".json")


@functools.cache
def paths() -> Mapping[str, str]:
    """Return the path of each file by its name, which contains a checksum of the file."""
    return {entry.name: entry.path for entry in os.scandir(BUILD_PATH_LIB) if entry.is_file()}


@functools.lru_cache(MAX_KEPT)
def _read(name: str) -> tuple[bytes, bytes]:
    """Return the content of a file, and the same compressed, or b""."""
    with open(paths()[name], "rb") as file:
        content = file.read()
    return content, gzip.compress(content, 6) if name.endswith(COMPRESSED) else b""


async def _serve(request: Request) -> Response:
    name = request.path_params["path"]
    if name not in paths():
        raise HTTPException(404)
    content, compressed = _read(name)
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    if compressed:
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"], content = "gzip", compressed
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
    return Response(content, media_type=kind, headers=headers)


ROUTE = Route("/assets/{path}", _serve)
