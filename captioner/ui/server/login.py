"""The login: checks requests for it, and limits how often passwords may be tried."""

import inspect
import threading
import time
from collections import deque
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.responses import RedirectResponse

MAX_ATTEMPTS, MAX_ATTEMPTS_TOTAL, PERIOD_S = 10, 60, 60.0


async def is_authenticated(request: Request) -> bool:
    """Return whether Gradio would accept the request; it is always true while the page has no login.

    Repeat the check of Gradio's `login_check`, which cannot be imported. Under a Gradio without these undocumented
    attributes every request fails, so none gets past the login.
    """
    app = request.app
    if app.auth is None and app.auth_dependency is None:
        return True
    if app.auth_dependency is not None:
        user = app.auth_dependency(request)
        user = await user if inspect.isawaitable(user) else user
    else:
        names = _cookie_names(app)
        user = app.tokens.get(next((request.cookies[name] for name in names if name in request.cookies), None))
    return user is not None


def _cookie_names(app: Any) -> tuple[str, str]:
    """Return the names of the cookies for HTTPS and for plain HTTP."""
    return f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}"


async def log_out(request: Request) -> Response:
    """End the login of this browser alone and show the form. Gradio's own route ends all logins of the same user."""
    response = RedirectResponse("./", 302)
    for name, is_secure in zip(_cookie_names(request.app), (True, False), strict=True):
        request.app.tokens.pop(request.cookies.get(name), None)
        response.delete_cookie(name, secure=is_secure, httponly=True, samesite="none" if is_secure else "lax")
    return response


async def require_login(request: Request) -> None:
    """Raise HTTPException 401 unless the request is logged in."""
    if not await is_authenticated(request):
        raise HTTPException(401, "log in first")


class LoginLimiter:
    """Limits login attempts by address, and in total: a proxy may hide or invent addresses. Any thread may call."""

    def __init__(
        self, per_address: int = MAX_ATTEMPTS, total: int = MAX_ATTEMPTS_TOTAL, period_s: float = PERIOD_S
    ) -> None:
        self._per_address, self._total, self._period_s = per_address, total, period_s
        self._lock = threading.Lock()
        self._attempts: deque[tuple[float, str]] = deque()  # (time, address), at most `total`

    def add(self, address: str) -> float:
        """Count an attempt before its password is checked and return 0, or return the seconds to wait."""
        now_s = time.monotonic()
        with self._lock:
            while self._attempts and self._attempts[0][0] <= now_s - self._period_s:
                self._attempts.popleft()
            own_s = [at_s for at_s, other in self._attempts if other == address]
            if len(own_s) < self._per_address and len(self._attempts) < self._total:
                self._attempts.append((now_s, address))
                return 0.0
            oldest_s = own_s[0] if len(own_s) >= self._per_address else self._attempts[0][0]
            return oldest_s + self._period_s - now_s

    def reset(self, address: str) -> None:
        """Forget the attempts of an address after a successful login."""
        with self._lock:
            self._attempts = deque((at_s, other) for at_s, other in self._attempts if other != address)
