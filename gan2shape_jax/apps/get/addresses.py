"""Which addresses are followed: https, and plain http only on this machine, for tests and the user's own mirrors.

A server may redirect a program to any address: to a file on this machine, or to a service reachable only from it.
"""

import ipaddress
from urllib.parse import urlsplit

from gan2shape_jax.errors import UserError
from gan2shape_jax.plain_text import one_line

__all__ = ["check_address", "host_of"]

_SHOWN = 200  # characters


def check_address(url: str, *, sent_by: str = "") -> None:
    """Raises `UserError` for an address that is not allowed.

    Args:
      url: the address.
      sent_by: the address whose server redirected to it, or "".
    """
    said = f"{_short(sent_by)} sends on to {_short(url)}" if sent_by else _short(url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise UserError(f"{said}: no address that can be followed ({error})") from error
    here = _is_this_machine(host)
    if not host or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not here):
        raise UserError(f"{said}: only https is followed")
    if parts.username is not None or parts.password is not None:
        raise UserError(f"{said}: an address with a name or password in it is not followed")
    if here and sent_by and not _is_this_machine(host_of(sent_by)):
        raise UserError(f"{said}: that is this machine itself, where no download is")


def host_of(url: str) -> str:
    """Returns the host of an address that has been checked."""
    return urlsplit(url).hostname or ""


def _is_this_machine(host: str) -> bool:
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _short(url: str) -> str:
    return one_line(url if len(url) <= _SHOWN else f"{url[:_SHOWN]}...")
