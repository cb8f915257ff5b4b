"""An application without a server, with a clock that the test moves; answers must conform."""

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certification.contract import load_contract
from reference_impl import config, setup, totp, web
from reference_impl.app import create_app

ADMIN_PASSWORD = "an admin's long password"
PASSWORD = "a long enough password"
CONTRACT = load_contract()


@dataclass
class Hands:
    """A clock that stands still until it is moved."""

    now: int = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


def violations(method: str, path: str, answer: Any) -> list[str]:
    route = path.partition("?")[0]
    found = [
        operation
        for operation in CONTRACT.operations.values()
        if operation.method == method
        and re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", operation.path), route)
    ]
    exact = [operation for operation in found if "{" not in operation.path] or found
    if not exact:
        return []
    body = answer.get_json(silent=True) if answer.data else None
    if answer.mimetype in {"text/plain", "application/openmetrics-text"}:
        body = answer.get_data(as_text=True)
    media_type = answer.headers.get("Content-Type") if answer.data else None
    return [
        item.message for item in exact[0].response_violations(answer.status_code, media_type, body)
    ]


@dataclass
class Desk:
    """The application, its clock, and who asks."""

    app: Any
    hands: Hands
    database: Path
    source: str = "192.0.2.1"
    token: str = ""
    user_id: str = ""
    session: dict[str, Any] = field(default_factory=dict)

    @property
    def services(self) -> web.Services:
        found: web.Services = self.app.extensions["alluse"]
        return found

    def other(self, source: str = "") -> "Desk":
        """Return somebody else at the same desk."""
        return Desk(self.app, self.hands, self.database, source or self.source)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        sent = {"Idempotency-Key": uuid.uuid4().hex, **headers}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        answer = self.app.test_client().open(
            path,
            method=method,
            data=None if body is None else json.dumps(body),
            headers=sent,
            content_type=None if body is None else "application/json",
            environ_base={"REMOTE_ADDR": self.source},
        )
        wrong = violations(method, path, answer)
        assert not wrong, (method, path, answer.status_code, answer.data, wrong)
        return answer

    def get(self, path: str) -> Any:
        return self.send("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        return self.send("POST", path, body)

    def funded(self, amount: int) -> str:
        """Make an account with this much cash; return its id."""
        body = {"type": "generation", "currency": "USD", "name": "One"}
        account = str(self.post("/v1/accounts", body).json["id"])
        money = {"amount": amount, "currency": "USD"}
        entry = {"kind": "deposit", "amount": money, "to_account_id": account}
        assert self.post("/v1/transactions", entry).status_code == 201
        return account

    def try_login(self, username: str, password: str) -> Any:
        return self.post("/v1/auth/login", {"username": username, "password": password})

    def enter(self, session: dict[str, Any]) -> "Desk":
        self.token, self.user_id = session["access_token"], session["user"]["id"]
        self.session = session
        return self

    def log_in(self, username: str = "admin", password: str = ADMIN_PASSWORD) -> "Desk":
        answer = self.try_login(username, password)
        assert answer.status_code == 200, answer.data
        return self.enter(answer.json)

    def new_user(self, *roles: str, **members: Any) -> "Desk":
        """As an admin, make a user and return that user, logged in."""
        name = members.pop("username", f"u-{uuid.uuid4().hex[:20]}")
        password = members.pop("password", PASSWORD)
        body = {"username": name, "password": password, "roles": list(roles), **members}
        answer = self.post("/v1/users", body)
        assert answer.status_code == 201, answer.data
        made = self.other().log_in(name, password)
        made.session["username"] = name
        return made

    def enroll(self) -> str:
        """Enrol a second factor, confirm it, and move on to the next code."""
        secret = str(self.post("/v1/auth/mfa/enroll", {"method": "totp"}).json["secret"])
        body = {"method": "totp", "code": self.code(secret)}
        assert self.post("/v1/auth/mfa/enroll", body).json["confirmed"] is True
        self.hands.advance(totp.PERIOD_S)
        return secret

    def code(self, secret: str, steps: int = 0) -> str:
        return totp.code(secret, totp.step_of(self.hands.now) + steps)


@contextmanager
def opened(folder: Path, **settings: Any) -> Iterator[Desk]:
    """Make a database and the application over it, with the admin logged in."""
    database = folder / "book.db"
    if not database.exists():
        setup.create(database, "admin", ADMIN_PASSWORD)
    hands = Hands()
    app = create_app(config.Settings(database=database, **settings), hands)
    desk = Desk(app, hands, database)
    try:
        yield desk.log_in()
    finally:
        shared = desk.services
        shared.writer.close()
        shared.readers.get().close()
        shared.limits.close()
