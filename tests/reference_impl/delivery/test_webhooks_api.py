"""Webhooks as resources: who may, what is refused, what is shown once, and what is stored."""

from typing import Any

import pytest

from reference_impl import config

from ._receiver import Receiver

HOOKS = "/v1/webhooks"


def body(url: str = "https://hooks.example.invalid/x", *types: str) -> dict[str, Any]:
    return {"url": url, "event_types": list(types or ("*",))}


def end(boss: Any, hook: dict[str, Any]) -> None:
    assert (
        boss.send("DELETE", f"{HOOKS}/{hook['id']}", headers={"If-Match": "*"}, check=False).status
        == 204
    )


def test_a_secret_is_shown_once_and_stored_sealed(hooked: Any, boss: Any) -> None:
    key = "create-a-webhook-once"
    made = boss.post(HOOKS, body(), key=key)
    assert made.status == 201
    secret = made.body["secret"]
    again = boss.post(HOOKS, body(), key=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.body == made.body
    assert made.headers["location"] == f"{HOOKS}/{made.body['id']}"
    shown = boss.get(made.headers["location"])
    assert shown.headers["etag"] == made.headers["etag"] == '"1"'
    assert "secret" not in shown.body
    listed = boss.get(HOOKS).body["data"]
    assert [each["id"] for each in listed if each["id"] == made.body["id"]]
    assert not [each for each in listed if "secret" in each]
    import sqlite3

    path = hooked.process.args[hooked.process.args.index("--database") + 1]
    with sqlite3.connect(path) as connection:
        whole = "\n".join(connection.iterdump())
    connection.close()
    assert secret.removeprefix("whsec_") not in whole
    assert secret.removeprefix("whsec_").encode().hex().upper() not in whole
    assert made.body["id"] in whole
    end(boss, made.body)


def test_only_an_admin_makes_webhooks_and_an_auditor_reads(hooked: Any, boss: Any) -> None:
    from tests.reference_impl.conftest import PASSWORD, log_in

    made = boss.post(HOOKS, body()).body
    for role, reads in (("customer", 403), ("manager", 403), ("auditor", 200)):
        name = f"hooks-{role}"
        members = {"username": name, "password": PASSWORD, "roles": [role]}
        assert boss.post("/v1/users", members).status == 201
        other = log_in(hooked.port, name, PASSWORD)
        assert other.post(HOOKS, body()).status == 403
        assert other.get(HOOKS).status == reads
        assert other.get(f"{HOOKS}/{made['id']}").status == reads
        assert other.post(f"{HOOKS}/{made['id']}/rotate", {}).status == 403
        sent = {"If-Match": '"1"'}
        assert other.send("DELETE", f"{HOOKS}/{made['id']}", headers=sent).status == 403
    end(boss, made)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "http://127.0.0.2/",
        "https://127.0.0.2/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://0.0.0.0/",
        "https://localhost/",
        "https://metadata.google.internal/",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https://[fd00::1]/",
    ],
)
def test_an_address_that_is_not_public_is_refused(boss: Any, url: str) -> None:
    answer = boss.post(HOOKS, body(url))
    assert (answer.status, answer.code) == (422, "url_not_allowed")


def test_other_refusals(boss: Any) -> None:
    for wrong in (
        {},
        {"url": "https://hooks.example.com/"},
        body("ftp://hooks.example.com/"),
        {**body(), "event_types": []},
        {**body(), "event_types": "*"},
        {**body(), "secret": "whsec_x"},
        body("https://hooks.example.com/" + "a" * 2048),
    ):
        answer = boss.post(HOOKS, wrong)
        assert (answer.status, answer.code) == (400, "validation_failed"), wrong
    answer = boss.post(HOOKS, body("https://hooks.example.invalid/", "alluse.no.such"))
    assert (answer.status, answer.code) == (422, "unknown_event_type")
    assert boss.post(HOOKS, body(), key="").code == "idempotency_key_missing"
    assert boss.get(f"{HOOKS}/whk_nothing").status == 404
    assert boss.post(f"{HOOKS}/whk_nothing/rotate", {}).status == 404


def test_ending_needs_the_version_and_leaves_nothing_behind(hooked: Any, boss: Any) -> None:
    made = boss.post(HOOKS, body()).body
    path = f"{HOOKS}/{made['id']}"
    assert boss.send("DELETE", path).code == "precondition_required"
    assert boss.send("DELETE", path, headers={"If-Match": '"7"'}).code == "precondition_failed"
    tag = boss.get(path).headers["etag"]
    assert boss.get(path, headers={"If-None-Match": tag}).status == 304
    rotated = boss.post(f"{path}/rotate", {})
    assert rotated.status == 200
    assert rotated.body["version"] == 2
    assert rotated.body["secret"] != made["secret"]
    assert rotated.body["old_secret_until"]
    assert boss.send("DELETE", path, headers={"If-Match": tag}).code == "precondition_failed"
    assert boss.send("DELETE", path, headers={"If-Match": rotated.headers["etag"]}).status == 204
    assert boss.get(path).status == 404
    import sqlite3

    database = hooked.process.args[hooked.process.args.index("--database") + 1]
    with sqlite3.connect(database) as connection:
        for table, column in (
            ("delivery_states", "consumer"),
            ("delivery_waiting", "consumer"),
            ("outbox_consumers", "name"),
        ):
            rows = connection.execute(
                f"SELECT count(*) FROM {table} WHERE {column} = ?",  # noqa: S608 - own names
                (made["id"],),
            ).fetchone()
            assert rows[0] == 0, table
    connection.close()


def test_there_are_as_many_as_are_declared(boss: Any) -> None:
    declared = boss.get("/.well-known/alluse").body["webhooks"]
    assert declared["webhooks_max"] == config.WEBHOOKS_MAX
    assert declared["allowed_hosts"] == ["127.0.0.1"]
    assert (declared["timeout_ms"], declared["retry_first_ms"]) == (500, 40)
    made = []
    while (answer := boss.post(HOOKS, body())).status == 201:
        made.append(answer.body)
        assert len(made) <= config.WEBHOOKS_MAX
    assert (answer.status, answer.code) == (409, "too_many_webhooks")
    page = boss.get(f"{HOOKS}?limit=5")
    assert page.body["next_cursor"]
    for each in made:
        end(boss, each)


def test_a_rotated_key_file_still_opens_the_secrets(
    hooked: Any, boss: Any, receiver: Receiver, hook: dict[str, Any]
) -> None:
    import subprocess
    import sys

    import standardwebhooks

    path = hooked.process.args[hooked.process.args.index("--database") + 1]
    command = [sys.executable, "-m", "reference_impl", "keys"]
    for verb in ("rotate", "retire"):
        subprocess.run([*command, verb, "--database", path], check=True, capture_output=True)
    boss.account()
    assert receiver.wait(lambda held: len(held.taken()) >= 1)
    got = receiver.taken()[0]
    standardwebhooks.Webhook(hook["secret"]).verify(got.body, got.headers)
