"""A real server on a free port, and a client that holds every answer against the contract."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from certification.contract import Operation, load_contract

if TYPE_CHECKING:
    from ._collector import Collector

ADMIN_PASSWORD = "an admin's long password"
PASSWORD = "a long enough password"
READY_TIMEOUT_S = 20.0
IDLE_S = 10.0
"""A connection idle for longer is not used again: the server closes it after half a minute."""


@dataclass
class Server:
    """A running `python -m reference_impl serve`."""

    process: subprocess.Popen[str]
    url: str
    ready: dict[str, Any]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 8.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def init_database(path: Path) -> Path:
    command = [sys.executable, "-m", "reference_impl", "init", "--database", str(path)]
    environment = {**os.environ, "REFERENCE_ADMIN": ADMIN_PASSWORD}
    subprocess.run(  # the command is the one under test
        [*command, "--admin-password", "env:REFERENCE_ADMIN"],
        env=environment,
        check=True,
        capture_output=True,
        timeout=30,
    )
    return path


def start_server(database: Path, *options: str, stderr: int | None = None) -> Server:
    """Start a server and wait for its ready line; the test that starts one stops it."""
    command = [sys.executable, "-m", "reference_impl", "serve", "--database", str(database)]
    process = subprocess.Popen(
        [*command, "--die-with-parent", *options],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    watchdog = threading.Timer(READY_TIMEOUT_S, process.kill)
    watchdog.start()
    assert process.stdout is not None
    line = process.stdout.readline()
    watchdog.cancel()
    if not line:
        process.wait(5)
        raise AssertionError(f"the server ended with {process.returncode} before it was ready")
    event = json.loads(line)
    return Server(process=process, url=event["url"], ready=event)


@dataclass
class Answer:
    """One answer, decoded."""

    status: int
    headers: dict[str, str]
    body: Any
    raw: bytes

    @property
    def code(self) -> str | None:
        return self.body.get("code") if isinstance(self.body, dict) else None


OPENED: list[http.client.HTTPConnection] = []


@pytest.fixture(scope="session", autouse=True)
def close_connections() -> Iterator[None]:
    yield
    for connection in OPENED:
        connection.close()


@dataclass
class Client:
    """A principal on one keep-alive connection; refuses answers that the contract refuses."""

    port: int
    token: str | None = None
    user_id: str = ""
    session: dict[str, Any] = field(default_factory=dict)
    _connection: http.client.HTTPConnection | None = None
    _used_s: float = 0.0

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
        check: bool = True,
    ) -> Answer:
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        if self._connection is not None and time.monotonic() - self._used_s > IDLE_S:
            self._connection.close()
            self._connection = None
        self._used_s = time.monotonic()
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            OPENED.append(self._connection)
        try:
            self._connection.request(method, path, data, sent)
            response = self._connection.getresponse()
            received = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            raise
        answer = decode(response, received)
        if check:
            assert_conforms(method, path, answer)
        return answer

    def get(self, path: str, **options: Any) -> Answer:
        return self.send("GET", path, **options)

    def post(
        self, path: str, body: Any = None, *, key: str | None = None, **options: Any
    ) -> Answer:
        """Send a POST with a fresh Idempotency-Key unless one is given ('' sends none)."""
        headers = dict(options.pop("headers", None) or {})
        if key != "":
            headers["Idempotency-Key"] = key or str(uuid.uuid4())
        return self.send("POST", path, body, headers=headers, **options)

    def patch(self, path: str, body: Any, *, tag: str | None = None, **options: Any) -> Answer:
        headers = {"If-Match": tag} if tag else {}
        return self.send("PATCH", path, body, headers=headers, **options)

    def account(self, **members: Any) -> dict[str, Any]:
        body = {"type": "generation", "currency": "USD", "name": "Weekly income", **members}
        answer = self.post("/v1/accounts", body)
        assert answer.status == 201, answer.body
        return dict(answer.body)

    def balances(self, account: dict[str, Any], query: str = "") -> dict[str, Any]:
        return dict(self.get(f"/v1/accounts/{account['id']}{query}").body["balances"])

    def book(self, kind: str, amount: int, **members: Any) -> Answer:
        currency = members.pop("currency", "USD")
        options = {name: members.pop(name) for name in ("key", "headers") if name in members}
        money = {"amount": amount, "currency": currency}
        return self.post("/v1/transactions", {"kind": kind, "amount": money, **members}, **options)

    def funded(self, amount: int, **members: Any) -> dict[str, Any]:
        account = self.account(**members)
        answer = self.book(
            "deposit", amount, to_account_id=account["id"], currency=account["currency"]
        )
        assert answer.status == 201, answer.body
        return account


def decode(response: http.client.HTTPResponse, received: bytes) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    body: Any = received.decode() if received else None
    if "json" in headers.get("content-type", ""):
        body = json.loads(received)
    return Answer(response.status, headers, body, received)


CONTRACT = load_contract()


def operation_of(method: str, path: str) -> Operation | None:
    route = path.partition("?")[0]
    found = [
        operation
        for operation in CONTRACT.operations.values()
        if operation.method.upper() == method
        and re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", operation.path), route)
    ]
    exact = [operation for operation in found if "{" not in operation.path]
    return next(iter(exact or found), None)


def assert_conforms(method: str, path: str, answer: Answer) -> None:
    assert answer.status < 500 or answer.status == 503, answer.body
    assert answer.headers["x-request-id"]
    operation = operation_of(method, path)
    if operation is not None and not operation.draft:
        media_type = answer.headers.get("content-type")
        violations = operation.response_violations(answer.status, media_type, answer.body)
        assert not violations, (method, path, answer.status, answer.body, violations)
    if answer.status >= 400 and "health" not in path:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.body["status"] == answer.status
    if answer.status == 401:
        assert "www-authenticate" in answer.headers
    if answer.status == 503:
        assert "retry-after" in answer.headers


def log_in(port: int, username: str, password: str) -> Client:
    client = Client(port)
    answer = client.post("/v1/auth/login", {"username": username, "password": password}, key="")
    assert answer.status == 200, answer.body
    client.token = answer.body["access_token"]
    client.user_id = answer.body["user"]["id"]
    client.session = answer.body
    return client


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    database = init_database(tmp_path_factory.mktemp("reference") / "book.db")
    running = start_server(database)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def admin(server: Server) -> Client:
    return log_in(server.port, "admin", ADMIN_PASSWORD)


@pytest.fixture(scope="session")
def new_client(server: Server, admin: Client) -> Callable[..., Client]:
    """Make a user with these roles and log in."""

    def make(*roles: str, username: str | None = None) -> Client:
        name = username or f"u-{uuid.uuid4().hex[:20]}"
        body = {"username": name, "password": PASSWORD, "roles": list(roles)}
        created = admin.post("/v1/users", body)
        assert created.status == 201, created.body
        client = log_in(server.port, name, PASSWORD)
        assert client.user_id == created.body["id"]
        return client

    return make


@pytest.fixture
def customer(new_client: Callable[..., Client]) -> Client:
    return new_client("customer")


@pytest.fixture(scope="session")
def operator(new_client: Callable[..., Client]) -> Client:
    return new_client("operator")


@pytest.fixture(scope="session")
def manager(new_client: Callable[..., Client]) -> Client:
    return new_client("manager")


@pytest.fixture(scope="session")
def auditor(new_client: Callable[..., Client]) -> Client:
    return new_client("auditor")


@pytest.fixture
def make_database() -> Callable[[Path], Path]:
    return init_database


@pytest.fixture
def run_server() -> Iterator[Callable[..., Server]]:
    """Start servers; what the test leaves running is killed."""
    started: list[Server] = []

    def start(database: Path, *options: str, stderr: int | None = None) -> Server:
        running = start_server(database, *options, stderr=stderr)
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def collector() -> Iterator["Collector"]:
    """An OpenTelemetry collector on a free port."""
    from ._collector import collecting  # only here: it loads protobuf

    with collecting() as found:
        yield found


@pytest.fixture
def log_in_as() -> Callable[[int, str, str], Client]:
    return log_in


@pytest.fixture
def admin_password() -> str:
    return ADMIN_PASSWORD


@pytest.fixture
def user_password() -> str:
    return PASSWORD
