"""The address of a server: how it is called, how it is shown, and what cannot be one.

endpoint("https://a.openai.azure.com/openai/deployments/d?api-version=2024-10-21", "chat/completions")
-> "https://a.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

COMPLETIONS = "chat/completions"


def endpoint(base_url: str, path: str) -> str:
    """Where a path of the API lies; what stands behind a `?` of base_url stays behind it."""
    before, mark, query = base_url.partition("?")
    return f"{before.rstrip('/')}/{path}{mark}{query}"


def shown_url(url: str) -> str:
    """An address for people: without user, password and what stands behind a `?`, which may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_loopback(url: str) -> bool:
    """Whether the server is on this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def address_problems(base_url: str) -> Iterator[str]:
    """Why it cannot be the base_url of a server, without any secret in it."""
    try:
        parts = urlsplit(base_url)
    except ValueError as error:
        yield f"is no address ({error})"
        return
    if "@" in parts.netloc:
        yield "holds a user or a password; name the variable that holds the key under api_key_env instead"
    elif parts.scheme not in ("http", "https") or not parts.netloc:
        yield f"{base_url} does not begin with http:// or https:// and a host"
    elif parts.path.rstrip("/").endswith(f"/{COMPLETIONS}"):
        yield f"{shown_url(base_url)} goes too far; leave out /{COMPLETIONS}"
