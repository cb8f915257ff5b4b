"""A client that shows bytes as they are."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from certification.counterparties.parties import SimulatedParty

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TIMEOUT_S = 10.0


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    first_byte_s: float
    whole: bool
    """Whether the body was as long as Content-Length says."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Raw:
    """One connection at a time to one counterparty."""

    party: SimulatedParty
    instance: str = "node-1"
    count: int = field(default=0)

    def connect(self) -> socket.socket:
        _, _, port = self.party.url.rpartition(":")
        return socket.create_connection(("127.0.0.1", int(port)), timeout=TIMEOUT_S)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        media_type: str = "application/json",
        **headers: str,
    ) -> bytes:
        content = body if isinstance(body, bytes) else b""
        if body is not None and not isinstance(body, bytes):
            content = json.dumps(body).encode()
        lines = {
            "Host": "counterparty",
            "Authorization": f"Bearer {self.party.token}",
            "traceparent": TRACE,
            "X-Instance-Id": self.instance,
        }
        if content:
            lines |= {"Content-Type": media_type, "Content-Length": str(len(content))}
        if key is not None:
            lines["Idempotency-Key"] = key
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        return f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode() + content

    def call(self, method: str, path: str, body: Any = None, **given: Any) -> Answer:
        with self.connect() as held:
            began_s = time.monotonic()
            held.sendall(self.request(method, path, body, **given))
            return read_answer(held, began_s)

    def raw(self, data: bytes) -> bytes:
        """Send bytes, return everything until the end of the connection."""
        with self.connect() as held:
            held.sendall(data)
            return until_end(held)

    def health(self) -> Answer:
        return self.call("GET", "/v1/health")

    def order(self, name: str, **changed: Any) -> dict[str, Any]:
        return {
            "client_order_id": name,
            "account_ref": "acc_1",
            "instrument": "RESTING",
            "side": "buy",
            "quantity": 10,
            "limit_price": {"amount": 100_000, "currency": "USD"},
            **changed,
        }

    def fresh_key(self) -> str:
        self.count += 1
        return f"key-{self.count:016d}"


def until_end(held: socket.socket) -> bytes:
    data = b""
    while piece := held.recv(65536):
        data += piece
    return data


def read_answer(held: socket.socket, began_s: float) -> Answer:
    data = held.recv(65536)
    first_byte_s = time.monotonic() - began_s
    while b"\r\n\r\n" not in data:
        piece = held.recv(65536)
        if not piece:
            raise ConnectionError(f"ended after {data!r}")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, *rows = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        piece = held.recv(65536)
        if not piece:
            break
        body += piece
    return Answer(
        status=int(status_line.split()[1]),
        headers=headers,
        body=body,
        first_byte_s=first_byte_s,
        whole=len(body) == length,
    )
