"""How many connections an address may hold, and for how long one may stay open without asking for anything.

`guard.Guard` counts requests, which there are only once all their headers have come: until then a connection is
uvicorn's alone, which has no limits.
"""

import asyncio
import collections
import contextlib
import math
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from gan2shape_jax.apps.serve.visits import visitor_of

_MOST = 200  # connections of one address: twice the requests that it may make at a time
_OTHERS, _LEAST = 32, 16  # files that stay free for what is no connection; connections that there may be all the same
# A connection that is refused is open for three turns of asyncio's loop: it is taken in the first, looked at in the
# third, and closed in the fourth, before more are taken. Each turn takes up to one more than may wait.
_TURNS = 3
_SILENT_S = 10.0  # after which a connection without a new request is closed, up to twice this long


def limited(trusted: list[str] | str, waiting: int) -> type[asyncio.Protocol]:
    """Returns uvicorn's protocol with these limits.

    `trusted` are the proxies' addresses, as uvicorn knows them: their connections are their visitors', and may be many.
    `waiting` is how many connections the system keeps until they are taken.
    """
    proxies: Any = ProxyHeadersMiddleware(_no_application, trusted).trusted_hosts
    held: collections.Counter[str] = collections.Counter()  # by visitor
    most = _most_open(waiting)

    class Limited(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """One connection."""

        def connection_made(self, transport: Any) -> None:
            """Counts a connection, and ends one too many."""
            super().connection_made(transport)
            peer = transport.get_extra_info("peername")
            self._visitor = visitor_of(peer)
            held[self._visitor] += 1
            self._watch = self.loop.call_later(_SILENT_S, self._close_silent, None)
            many = held[self._visitor] > _MOST and not (peer and peer[0] in proxies)
            if many or held.total() > most:
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            """Forgets a connection."""
            self._watch.cancel()
            held[self._visitor] -= 1
            if not held[self._visitor]:
                del held[self._visitor]
            super().connection_lost(exc)

        def _close_silent(self, before: Any) -> None:
            """Closes a connection whose latest request is over and was so when this was last looked at."""
            over = self.cycle is None or self.cycle.response_complete
            if over and self.cycle is before:
                self.transport.close()
            else:
                self._watch = self.loop.call_later(_SILENT_S, self._close_silent, self.cycle)

    return Limited


def _most_open(waiting: int) -> float:
    """Returns how many connections there is room for among the files that this process may open.

    Without any left, asyncio would write a traceback for each connection that it cannot take, and take none.
    """
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        if (files := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) != resource.RLIM_INFINITY:
            return max(files - _TURNS * (waiting + 1) - _OTHERS, _LEAST)
    return math.inf


async def _no_application(*_: Any) -> None:
    """Stands for the application where uvicorn asks for one."""
