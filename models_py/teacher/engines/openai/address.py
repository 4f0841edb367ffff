"""The address of a server: how it is called, how it is shown, what cannot be one, and whether somebody listens there.

endpoint("https://a.openai.azure.com/openai/deployments/d?api-version=2024-10-21", "chat/completions")
-> "https://a.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
"""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from models_py.errors import UserError

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


def proxy_before(url: str) -> str | None:
    """The proxy that the environment names for an address; one without a scheme speaks HTTP, as curl has it.

    aiohttp's own `trust_env` looks into ~/.netrc too, and refuses every call when that has a `default` beside our key.
    Raises UserError for a proxy that speaks something else.
    """
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    name = parts.scheme if proxies.get(parts.scheme) else "all"
    proxy = proxies.get(name)
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise UserError(
            f"{name}_proxy: {proxy.partition('://')[0]} is no proxy that can be used; name one that speaks HTTP, or "
            f"except {parts.hostname} by no_proxy"
        )
    return proxy


def unreached(base_url: str, wait_s: float) -> str | None:
    """Why nobody takes a connection at a server, or at the proxy before it; None where somebody does. Sends nothing.

    Raises UserError for a proxy that cannot be used.
    """
    proxy = proxy_before(base_url)
    parts = urlsplit(proxy or base_url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), wait_s).close()
    except TimeoutError:
        why = "no answer in time"
    except (OSError, ValueError) as error:  # a ValueError is about a port or a name that none can have
        why = getattr(error, "strerror", None) or str(error)
    else:
        return None
    return f"{f'the proxy {shown_url(proxy)} before ' if proxy else ''}{shown_url(base_url)} does not answer ({why})"
