"""Flask without what this application never uses, on the way of every request.

No cookies and sessions of Flask, no server names, no redirects, no coroutines: what Flask does
for these costs as much as half of a read. Routing, hooks and error handlers are Flask's own.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import flask
from flask.sessions import NullSession, SessionInterface
from werkzeug.datastructures import Headers
from werkzeug.routing import MapAdapter

BODILESS = frozenset({204, 304})


class NoSession(SessionInterface):
    """The session of every request: none."""

    def open_session(self, app: flask.Flask, request: flask.Request) -> NullSession:
        """Return the session that cannot be used."""
        del app, request
        return _NONE


_NONE = NullSession()


class Answer(flask.Response):
    """A response whose body is at hand is given to the server as it is."""

    more: Sequence[tuple[str, str]] = ()
    """Headers that every answer has, beside its own."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Send status, headers and body; one that streams goes Werkzeug's way."""
        if not isinstance(self.response, list) or self.status_code in BODILESS:
            return super().__call__(environ, start_response)
        body = b"".join(self.iter_encoded())
        headers = [*self.headers, *self.more]
        if "Content-Length" not in self.headers:
            headers.append(("Content-Length", str(len(body))))
        start_response(self.status, headers)
        return [b""] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:
        """Return the headers of an answer that goes Werkzeug's way."""
        headers = super().get_wsgi_headers(environ)
        headers.extend(self.more)
        return headers


class App(flask.Flask):
    """Flask, and its way of a request made short."""

    session_interface = NoSession()
    response_class = Answer

    def create_url_adapter(self, request: flask.Request | None) -> MapAdapter | None:
        """Return what matches the path; the host plays no part."""
        if request is None:
            return None
        environ = request.environ
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        return MapAdapter(
            self.url_map,
            server_name="localhost",
            script_name="/",
            subdomain="",
            url_scheme="http",
            path_info=path,
            default_method=environ["REQUEST_METHOD"],
            query_args="",
        )

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function: none here is a coroutine."""
        return func
