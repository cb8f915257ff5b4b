"""What the toy servers share: a threading HTTP server on a free port that says when it is ready."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Toy(BaseHTTPRequestHandler):
    """Hands every request to `answer`, whatever its method."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    """Head and body in one packet; in two, each answer would wait 40 ms for an acknowledgement."""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return status and body (JSON, or HTML as text)."""
        raise NotImplementedError

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw or b"{}")
        except (ValueError, RecursionError):
            body = {}
        body = body if isinstance(body, dict) else {}
        status, document = self.answer(self.command, self.path, body)
        html = isinstance(document, str)
        content = document.encode() if html else json.dumps(document).encode()
        problem = isinstance(document, dict) and status >= 400
        kind = "text/html" if html else f"application/{'problem+' if problem else ''}json"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815  http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Takes bursts without refusing connections."""

    request_queue_size = 128
    daemon_threads = True


def serve(handler: type[Toy]) -> None:
    """Serve until killed; the first line on standard output is the URL."""
    server = Server(("127.0.0.1", 0), handler)
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


CAPABILITIES: dict[str, Any] = {
    "contract_version": "0.1.0",
    "implementation": {"name": "toy", "version": "1"},
    "build": "toy-build",
    "instance": "toy-instance",
    "modules": [{"id": "core", "version": "0.1.0", "level": "full"}],
    "currencies": [{"code": "USD", "exponent": 2}, {"code": "JPY", "exponent": 0}],
    "limits": {"amount_max": 10**15, "page_max": 200, "body_bytes_max": 65_536},
    "idempotency": {"retention_seconds": 86_400, "stored_statuses": [200, 201]},
    "consistency": {"read_your_writes": True},
    "auth": {"schemes": ["bearer"], "token_ttl": 3_600, "password": {"min_length": 12}},
}
MOMENT = "2026-01-02T03:04:05Z"


def session(username: str) -> dict[str, Any]:
    """Return what a login gives; the user's id is the name."""
    return {
        "access_token": f"token-of-{username}",
        "token_type": "Bearer",
        "expires_in": 3_600,
        "refresh_token": f"refresh-of-{username}",
        "refresh_expires_in": 7_200,
        "user": {"id": username, "roles": [username.rstrip("2")]},
    }
