"""Addresses of model servers as people write them."""

import pytest

from captioner.system.endpoints import parse_endpoint


@pytest.mark.parametrize(
    ("text", "url", "num_requests"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1", 0),
        (" HTTP://GPU-Lab:8000/ ", "http://gpu-lab:8000/v1", 0),
        ("http://host/v1/#4", "http://host/v1", 4),
        ("https://openrouter.ai/api/v1#16", "https://openrouter.ai/api/v1", 16),
        ("https://host/v1/chat/completions", "https://host/v1", 0),
        ("https://host//v1/chat/completions/", "https://host/v1", 0),
        ("https://host/v1/models", "https://host/v1", 0),
        ("https://host/v1beta/openai/", "https://host/v1beta/openai", 0),
        ("http://[::1]:8000", "http://[::1]:8000/v1", 0),
    ],
)
def test_an_address_gets_its_usual_form(text, url, num_requests):
    endpoint = parse_endpoint(text)
    assert endpoint == (url, num_requests)
    assert parse_endpoint(str(endpoint)) == endpoint


WRONG = ("", "host:8000", "http://", "http://host:99999", "http://host#0", "http://host#4.5", "http://host#257")
SECRET = ("http://a b", "http://u@host", "http://u:p@host", "http://h?k=1")


@pytest.mark.parametrize("text", WRONG + SECRET)
def test_what_is_no_address_or_may_hold_a_key_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        parse_endpoint(text)
