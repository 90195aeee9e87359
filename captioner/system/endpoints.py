"""Addresses of model servers that speak the OpenAI protocol, as users write them: "http://host:8000#4"."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

MAX_REQUESTS = 256  # at once
DEFAULT_KEY = "OPENAI_API_KEY"  # the environment variable with the key of the server


class Endpoint(NamedTuple):
    """The address of a server's API, and how many requests it gets at once; 0: found by its answers."""

    url: str
    num_requests: int

    def __str__(self) -> str:
        return f"{self.url}#{self.num_requests}" if self.num_requests else self.url


def parse_endpoint(text: str) -> Endpoint:
    """Return the address in its usual form: of the API itself, which is at /v1 if there is no path. Raise ValueError.

    An address with a user name, a password or a query is refused, since it is stored and shown, and may hold a key.
    """
    parts = urlsplit(text.strip())
    digits = parts.fragment
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("not an address such as http://localhost:8000")
    if "@" in parts.netloc or parts.query or any(character.isspace() for character in parts.netloc + parts.path):
        raise ValueError("an address with a user, a password or a query")
    if digits and not (digits.isascii() and digits.isdigit() and 1 <= int(digits) <= MAX_REQUESTS):
        raise ValueError("not a number of requests")
    path = re.sub(r"(/chat/completions|/completions|/models)?/*$", "", re.sub(r"/{2,}", "/", parts.path)) or "/v1"
    return Endpoint(f"{parts.scheme.lower()}://{parts.netloc.lower()}{path}", int(digits or 0))


def is_endpoint(device: str) -> bool:
    """Return True for the address of a server in the place of a device."""
    return device.startswith(("http://", "https://"))
