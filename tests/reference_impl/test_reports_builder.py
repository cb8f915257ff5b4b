"""The builder of reports, step by step: interruptions, faults, limits, time and erasure."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import reports, reports_builder, reports_rows
from reference_impl.reports_builder import Builder

from ._desk import Desk, opened


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk whose builder works only when the test says so."""
    with opened(tmp_path) as found:
        found.app.extensions[reports_builder.EXTENSION].stop()
        yield found


def owner_with_money(desk: Desk) -> tuple[Desk, str]:
    owner = desk.new_user("customer")
    body = {"type": "revenue", "currency": "USD", "name": "n"}
    account = str(owner.post("/v1/accounts", body).json["id"])
    money = {"amount": 700, "currency": "USD"}
    deposit = {"kind": "deposit", "amount": money, "to_account_id": account}
    assert owner.post("/v1/transactions", deposit).status_code == 201
    return owner, account


def ask(owner: Desk, name: str = "entries") -> str:
    asked = owner.post("/v1/reports", {"report": name})
    assert asked.status_code == 201, asked.data
    return str(asked.json["id"])


def state(owner: Desk, report_id: str) -> Any:
    return owner.get(f"/v1/reports/{report_id}").json


def files(desk: Desk, report_id: str) -> list[str]:
    folder = reports_builder.folder(desk.services)
    return sorted(path.suffix for path in folder.glob(f"{report_id}.*"))


def test_a_report_goes_from_queued_over_running_to_done(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, _ = owner_with_money(desk)
    report_id = ask(owner)
    assert state(owner, report_id)["status"] == "queued"
    refused = owner.get(f"/v1/reports/{report_id}/export")
    assert (refused.status_code, refused.json["code"]) == (409, "report_not_ready")
    seen = []
    rows = reports_rows.entries

    def look(*arguments: Any) -> Any:
        seen.append(state(owner, report_id)["status"])
        return rows(*arguments)

    monkeypatch.setattr(reports_rows, "entries", look)
    builder = Builder(desk.services)
    assert builder.take_one()
    assert not builder.take_one()
    assert seen == ["running"]
    assert (state(owner, report_id)["status"], state(owner, report_id)["rows"]) == ("done", 1)
    assert files(desk, report_id) == [".csv", ".json"]


def test_an_interrupted_report_is_built_again_and_is_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, account = owner_with_money(desk)
    whole, broken = ask(owner), ask(owner)
    builder = Builder(desk.services)
    assert builder.take_one()

    def crash(*_: Any) -> Any:
        yield "entry", {"seq": 1}
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reports_rows, "entries", crash)
        with pytest.raises(KeyboardInterrupt):
            builder.take_one()
    assert state(owner, broken)["status"] == "running"
    assert files(desk, broken) == []
    money = {"amount": 1, "currency": "USD"}
    owner.post("/v1/transactions", {"kind": "deposit", "amount": money, "to_account_id": account})
    assert Builder(desk.services).take_one()
    exports = [state(owner, report_id)["exports"] for report_id in (whole, broken)]
    # The first member of the JSON is the id; the rows of the CSV are the same to the last byte.
    assert exports[0][0] == exports[1][0]
    assert state(owner, broken)["rows"] == 1


def test_a_process_starts_with_what_another_one_left(desk: Desk, tmp_path: Path) -> None:
    owner, _ = owner_with_money(desk)
    report_id = ask(owner)
    builder = Builder(desk.services)
    builder.start()
    for _ in range(200):
        if state(owner, report_id)["status"] == "done":
            break
        builder.wake()
        builder._thread.join(0.05)
    builder.stop()
    assert state(owner, report_id)["status"] == "done"


def test_only_one_process_builds_at_a_time(desk: Desk) -> None:
    owner, _ = owner_with_money(desk)
    report_id = ask(owner)
    folder = reports_builder.folder(desk.services)
    folder.mkdir(exist_ok=True)
    with reports_builder.alone(folder / "lock") as mine:
        assert mine
        assert not Builder(desk.services).take_one()
    assert state(owner, report_id)["status"] == "queued"
    assert Builder(desk.services).take_one()


def test_a_report_that_always_fails_is_given_up_and_holds_nobody_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, _ = owner_with_money(desk)
    report_id = ask(owner, "portfolio")
    after = ask(owner)

    def fail(*_: Any) -> Any:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(reports_rows, "portfolio", fail)
    builder = Builder(desk.services)
    for _ in range(reports_builder.ATTEMPTS_MAX):
        with pytest.raises(OSError, match="No space"):
            builder.take_one()
    assert builder.take_one()
    assert state(owner, report_id)["status"] == "failed"
    refused = owner.get(f"/v1/reports/{report_id}/export")
    assert (refused.status_code, refused.json["code"]) == (409, "report_failed")
    assert builder.take_one()
    assert state(owner, after)["status"] == "done"


def test_a_principal_has_a_bounded_number_of_open_reports(desk: Desk) -> None:
    owner, _ = owner_with_money(desk)
    for _ in range(reports.OPEN_MAX):
        ask(owner)
    refused = owner.post("/v1/reports", {"report": "entries"})
    assert (refused.status_code, refused.json["code"]) == (503, "busy")
    assert refused.headers["Retry-After"]
    other, _ = owner_with_money(desk)
    ask(other)
    assert Builder(desk.services).take_one()
    ask(owner)


def test_a_report_ends_with_its_time_and_takes_its_files_along(desk: Desk) -> None:
    owner, _ = owner_with_money(desk)
    report_id = ask(owner)
    builder = Builder(desk.services)
    builder.take_one()
    builder.sweep()
    assert files(desk, report_id) == [".csv", ".json"]
    desk.hands.now += reports.KEPT_MS
    username = owner.session["username"]
    owner = desk.other().log_in(username, "a long enough password")
    assert owner.get(f"/v1/reports/{report_id}").status_code == 404
    assert owner.get(f"/v1/reports/{report_id}/export").status_code == 404
    builder.sweep()
    assert files(desk, report_id) == []


def test_a_file_that_is_gone_is_not_found(desk: Desk) -> None:
    owner, _ = owner_with_money(desk)
    report_id = ask(owner)
    Builder(desk.services).take_one()
    (reports_builder.folder(desk.services) / f"{report_id}.csv").unlink()
    assert owner.get(f"/v1/reports/{report_id}/export").status_code == 404
    assert owner.get(f"/v1/reports/{report_id}/export?format=json").status_code == 200


def test_files_are_for_the_server_only(desk: Desk) -> None:
    owner, _ = owner_with_money(desk)
    report_id = ask(owner)
    Builder(desk.services).take_one()
    folder = reports_builder.folder(desk.services)
    assert folder.stat().st_mode & 0o077 == 0
    for path in folder.glob(f"{report_id}.*"):
        assert path.stat().st_mode & 0o077 == 0


def test_the_end_of_a_report_is_in_the_audit_trail(desk: Desk) -> None:
    owner, _ = owner_with_money(desk)
    report_id = ask(owner)
    Builder(desk.services).take_one()
    rows = desk.services.readers.get().execute(
        "SELECT actor, action, outcome FROM audit WHERE object = ? ORDER BY seq", (report_id,)
    )
    found = [tuple(row) for row in rows]
    asked = (owner.user_id, "createReport", "done")
    assert found == [asked, ("system", "buildReport", "done")]


def test_erasure_takes_the_reports_of_a_person_along(desk: Desk) -> None:
    owner, account = owner_with_money(desk)
    money = {"amount": 700, "currency": "USD"}
    out = {"kind": "withdrawal", "amount": money, "from_account_id": account}
    assert owner.post("/v1/transactions", out).status_code == 201
    report_id = ask(owner)
    builder = Builder(desk.services)
    builder.take_one()
    tag = desk.get(f"/v1/users/{owner.user_id}").headers["ETag"]
    path = f"/v1/users/{owner.user_id}/personal-data"
    assert desk.send("DELETE", path, **{"If-Match": tag}).status_code == 204
    assert desk.get(f"/v1/reports/{report_id}").status_code == 404
    builder.sweep()
    assert files(desk, report_id) == []


def test_a_denied_account_is_left_out_and_hides_what_shows_it(desk: Desk) -> None:
    owner, account = owner_with_money(desk)
    body = {"type": "revenue", "currency": "USD", "name": "other"}
    other = str(owner.post("/v1/accounts", body).json["id"])
    before = ask(owner, "portfolio")
    grant = {"principal_id": owner.user_id, "scope": "accounts:read", "effect": "deny"}
    assert desk.post("/v1/grants", {**grant, "object_id": account}).status_code == 201
    assert owner.get(f"/v1/reports/{before}").status_code == 404
    after = ask(owner, "portfolio")
    builder = Builder(desk.services)
    builder.take_one()
    builder.take_one()
    rows = owner.get(f"/v1/reports/{after}/export?format=json").json["rows"]
    assert [row["account_id"] for row in rows] == [other]
    refused = owner.post("/v1/reports", {"report": "entries", "account_id": account})
    assert refused.status_code == 404
