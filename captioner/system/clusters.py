"""Addresses of Ray clusters, as users write them: "auto", "local" or "host:6379"."""

import re

PREFIX = "ray:"  # of a spec's device
WORDS = ("auto", "local")
_ADDRESS = re.compile(r"([a-z0-9][a-z0-9_.-]*|\[[0-9a-f:]+\]):[0-9]{1,5}")


def parse_cluster(text: str) -> str:
    """Return the address in lower case, "" if there is none. Raise ValueError."""
    address = text.strip().lower()
    if address and address not in WORDS and not _ADDRESS.fullmatch(address):
        raise ValueError("not the address of a Ray cluster")
    return address


def is_cluster(device: str) -> bool:
    """Return True for a Ray cluster in the place of a device."""
    return device.startswith(PREFIX)
