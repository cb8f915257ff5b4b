"""An OpenTelemetry collector: takes OTLP over HTTP, answers as it is told and keeps the spans."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire

Value = str | int


@dataclass(frozen=True)
class Seen:
    """A span as it came."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    took_ns: int
    began_ns: int
    failed: bool
    attributes: dict[str, Value]
    resource: dict[str, Value]


SERVER, CLIENT = Wire.SPAN_KIND_SERVER, Wire.SPAN_KIND_CLIENT


@dataclass
class Collector:
    """What came, and how to answer what comes."""

    port: int = 0
    spans: list[Seen] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and headers."""
    bodies: list[bytes] = field(default_factory=list)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    """Of the answers."""
    released: threading.Event = field(default_factory=threading.Event)
    """Cleared, answers wait."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, trace_id: str) -> list[Seen]:
        return [span for span in list(self.spans) if span.trace_id == trace_id]

    def wait(self, until: Callable[["Collector"], Any], timeout_s: float = 15.0) -> Any:
        """Wait until something holds of what came; return the last look."""
        end_s = time.monotonic() + timeout_s
        with self.changed:
            while not (found := until(self)) and time.monotonic() < end_s:
                self.changed.wait(0.5)
        return found

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        decoded = ExportTraceServiceRequest.FromString(body)
        with self.changed:
            self.requests.append((path, headers))
            self.bodies.append(body)
            for group in decoded.resource_spans:
                of = plain(group.resource.attributes)
                for scope in group.scope_spans:
                    self.spans += [seen(span, of) for span in scope.spans]
            self.changed.notify_all()


def plain(pairs: Any) -> dict[str, Value]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def seen(span: Any, resource: dict[str, Value]) -> Seen:
    return Seen(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=span.kind,
        began_ns=span.start_time_unix_nano,
        took_ns=span.end_time_unix_nano - span.start_time_unix_nano,
        failed=span.status.code == 2,
        attributes=plain(span.attributes),
        resource=resource,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """Serve a collector on a free port."""
    held = Collector()
    held.released.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            held.released.wait(20)
            if held.status == 200:
                headers = {name.lower(): value for name, value in self.headers.items()}
                held.take(self.path, headers, body)
            try:
                self.send_response(held.status)
                for name, value in held.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:  # whoever asked has gone meanwhile
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Whoever asked has gone."""

    server = Server(("127.0.0.1", 0), Handler)
    held.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield held
    finally:
        held.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
