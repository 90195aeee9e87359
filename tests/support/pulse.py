"""The request that an open page sends every second, for tests and tools that stand in for a browser."""

from collections.abc import Callable

import httpx


def pulse_request(address: str, client: httpx.Client | None = None) -> Callable[[int], dict]:
    """Return a function: number of a viewer -> the JSON body that its page posts to `gradio_api/run/predict`."""
    config = (client or httpx).get(f"{address}config").json()
    found = next(d for d in config["dependencies"] if d["api_name"] == "pulse")
    values = {component["id"]: component["props"].get("value") for component in config["components"]}
    return lambda number: {
        "data": [values[component] for component in found["inputs"]],  # as in a page that was just opened
        "fn_index": found["id"],
        "trigger_id": None,
        "session_hash": f"bench{number}",
    }
