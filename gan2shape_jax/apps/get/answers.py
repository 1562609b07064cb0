"""Servers' responses: whether they hold the file, how long it is, and which part of it they send."""

import re
from collections.abc import Iterator, Mapping

import requests

from gan2shape_jax.apps.get.addresses import check_address, host_of
from gan2shape_jax.errors import UserError

__all__ = ["Cut", "check_answer", "chunks", "is_whole", "length_of_body", "opened", "rest_of", "version", "web_page"]

_CHUNK = 2**14  # bytes; the chunk being received when a connection breaks is lost
_REDIRECTS = 10
_MARK = 500  # characters of a version identifier
_RANGE = re.compile(r"bytes (?:(?P<first>\d{1,19})-\d{1,19}|\*)/(?P<total>\d{1,19}|\*)")


class Cut(Exception):
    """The connection failed or ended before the file did; another attempt may succeed."""


def opened(
    session: requests.Session, url: str, headers: Mapping[str, str], timeout: tuple[float, float]
) -> requests.Response:
    """Returns the response after all redirects, each of which is checked.

    Args:
      session: that sends the requests.
      url: the address.
      headers: of the request.
      timeout: seconds to wait for a connection, and for each byte.

    Raises:
      UserError: an address on the way is not allowed.
      Cut: a server cannot be reached.
    """
    address, sent_by = url, ""
    for _ in range(_REDIRECTS):
        check_address(address, sent_by=sent_by)
        host = host_of(address)
        try:
            response = session.get(address, headers=headers, stream=True, allow_redirects=False, timeout=timeout)
        except requests.exceptions.SSLError as error:
            raise UserError(f"{host} cannot prove who it is ({_reason(error)}): nothing was fetched") from error
        except requests.exceptions.ConnectionError as error:
            raise Cut(f"{host} cannot be reached ({_reason(error)})") from error
        except requests.exceptions.Timeout as error:
            raise Cut(f"{host} does not answer") from error
        except (requests.exceptions.RequestException, ValueError) as error:
            raise UserError(f"{host}: {_reason(error)}") from error
        target = session.get_redirect_target(response)
        if target is None:
            return response
        response.close()
        address, sent_by = requests.compat.urljoin(address, target), address
    raise UserError(f"{url}: the servers send on more than {_REDIRECTS} times")


def check_answer(response: requests.Response, url: str) -> None:
    """Raises `UserError` for responses without the file, and `Cut` if trying again may help."""
    status = response.status_code
    if status in (404, 410):
        raise UserError(f"{url}: the server says that it has no such file (status {status}); it may have moved")
    if status in (408, 425, 429) or status >= 500:
        raise Cut(f"{host_of(url)} cannot serve it just now (status {status})")
    if status not in (200, 206):
        raise UserError(f"{url}: the server refuses (status {status})")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UserError(f"{url}: the server sends it compressed, though it was asked not to")
    if "html" in response.headers.get("Content-Type", "").lower():
        raise web_page(url)


def web_page(url: str) -> UserError:
    """Returns the error for an address that gives a web page instead of a file."""
    return UserError(
        f"{url}: the server sends a web page (HTML) in place of the file: it wants a person to confirm or to log in, "
        "or the file has moved. Open the address in a browser, and give what you download with --from"
    )


def length_of_body(response: requests.Response) -> int | None:
    """Returns the number of bytes that the server announces, or None."""
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"\d{1,19}", text) else None


def is_whole(response: requests.Response, here: int) -> bool:
    """Whether the response to a request for the rest of a file says that these bytes are the whole file."""
    return response.status_code == 416 and _range_of(response).get("total") == str(here)


def rest_of(response: requests.Response, here: int) -> int | None:
    """Returns the size of the file whose rest is sent, or None; raises `UserError` if another part is sent."""
    found = _range_of(response)
    if found.get("first") != str(here):
        raise UserError(f"{response.url}: the server sends another part of the file than it was asked for")
    total = found.get("total")
    return int(total) if total and total != "*" else None


def version(response: requests.Response) -> tuple[str, str]:
    """Returns what identifies the version of the file on the server: `ETag`, `Last-Modified`."""
    return response.headers.get("ETag", "")[:_MARK], response.headers.get("Last-Modified", "")[:_MARK]


def chunks(response: requests.Response) -> Iterator[bytes]:
    """Yields the received data; raises `Cut` if the connection breaks or stalls."""
    try:
        yield from response.iter_content(_CHUNK)
    except requests.exceptions.RequestException as error:
        raise Cut(_reason(error)) from error


def _range_of(response: requests.Response) -> dict[str, str | None]:
    found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    return found.groupdict() if found else {}


def _reason(error: Exception) -> str:
    """Returns in one line the innermost cause of a `requests` error, which may wrap others deeply."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return (str(cause) or type(cause).__name__).splitlines()[0][:200]
