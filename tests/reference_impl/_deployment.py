"""A deployment whose admin may restore: a started server, its folder of backups, and moments."""

import time
from pathlib import Path
from typing import Any

from reference_impl import totp

from .conftest import ADMIN_PASSWORD, Client, init_database, log_in, start_server


class Deployment:
    """A running server with an admin who has a fresh second factor."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.database = init_database(folder / "book.db")
        self.folder = Path(f"{self.database}.backups")
        self.server = start_server(self.database, *options)
        self.admin = log_in(self.server.port, "admin", ADMIN_PASSWORD)
        secret = self.admin.post("/v1/auth/mfa/enroll", {"method": "totp"}, key="").body["secret"]
        code = totp.code(secret, totp.step_of(int(time.time() * 1000)))
        body = {"method": "totp", "code": code}
        assert self.admin.post("/v1/auth/mfa/enroll", body, key="").body["confirmed"]

    def backup(self, kind: str = "full") -> dict[str, Any]:
        answer = self.admin.post("/v1/backups", {"type": kind})
        assert answer.status == 201, answer.body
        assert self.admin.get(answer.headers["location"]).body == answer.body
        return dict(answer.body)

    def maintenance(self, on: bool, who: Client | None = None) -> Any:
        return (who or self.admin).send("PUT", "/v1/maintenance", {"read_only": on})

    def restore(self, backup: dict[str, Any], until: str | None = None, **options: Any) -> Any:
        body = {} if until is None else {"until": until}
        return self.admin.post(f"/v1/backups/{backup['id']}/restore", body, **options)

    def restored(self, backup: dict[str, Any], until: str | None = None) -> dict[str, Any]:
        """Restore in maintenance, and open the book again."""
        assert self.maintenance(True).status == 200
        answer = self.restore(backup, until)
        assert answer.status == 200, answer.body
        assert self.maintenance(False).body["read_only"] is False
        return dict(answer.body)

    def known(self) -> tuple[set[str], set[str]]:
        """Return the backups of the folder and of the catalogue."""
        listed = self.admin.get("/v1/backups?limit=200").body["data"]
        return {one.name for one in self.folder.glob("bak_*")}, {one["id"] for one in listed}

    def verify(self, backup: dict[str, Any]) -> Any:
        return self.admin.post(f"/v1/backups/{backup['id']}/verify", {})

    def capabilities(self) -> dict[str, Any]:
        return dict(self.admin.get("/.well-known/alluse").body)

    def checkpoint(self, query: str = "") -> dict[str, Any]:
        return dict(self.admin.get(f"/v1/audit/checkpoint{query}").body)


def now() -> str:
    """An instant after everything that was answered so far, and before everything to come."""
    time.sleep(0.02)
    instant = time.time()
    time.sleep(0.02)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(instant))
    return f"{whole}.{int(instant % 1 * 1000):03d}Z"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
