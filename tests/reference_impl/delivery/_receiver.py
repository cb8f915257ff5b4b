"""A receiver of webhooks: answers as it is told and keeps what came."""

import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Reply = tuple[int, dict[str, str]]


@dataclass(frozen=True)
class Got:
    """One request."""

    at_s: float
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    connection: int

    @property
    def event(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """What came, and how to answer what comes."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answer: Callable[[dict[str, Any], int], Reply | int] = lambda _event, _attempt: 204
    """From the event and the number of its attempt."""
    attempts: dict[str, int] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def taken(self) -> list[Got]:
        return [each for each in list(self.got) if 200 <= each.status < 300]

    def wait(self, until: Callable[["Receiver"], bool], timeout_s: float = 15.0) -> bool:
        """Wait until something holds of what came."""
        end_s = time.monotonic() + timeout_s
        with self.changed:
            while not until(self):
                if not self.changed.wait(max(end_s - time.monotonic(), 0)):
                    return until(self)
        return True


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Serve a receiver on a free port."""
    held = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            event = json.loads(body)
            name = headers.get("webhook-id", "")
            held.attempts[name] = held.attempts.get(name, 0) + 1
            said = held.answer(event, held.attempts[name])
            status, more = said if isinstance(said, tuple) else (said, {})
            got = Got(time.monotonic(), self.path, headers, body, status, id(self.connection))
            with held.changed:
                held.got.append(got)
                held.changed.notify_all()
            if status == 0:  # hang up without an answer
                self.close_connection = True
                return
            self.send_response(status)
            for key, value in more.items():
                self.send_header(key, value)
            if status != 204:
                self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    held.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
