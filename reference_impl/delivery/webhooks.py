"""Resources under /v1/webhooks: who gets events delivered, how that goes, and the secrets."""

import json
from collections.abc import Collection
from typing import Annotated, Any

import flask
import msgspec
from msgspec import UNSET, UnsetType

from reference_impl import access, clock, config, events, idempotency, ids, listing, requests, web
from reference_impl.access import Rank
from reference_impl.problems import Problem
from reference_impl.requests import given
from reference_impl.turns import TURNS

from . import addresses, dispatcher, sending, signing, store
from .pump import WAITING_MAX

blueprint = flask.Blueprint("webhooks", __name__)

RESOLVE_S = 1.0
"""A name that the resolver does not answer for in this time is looked at when it is used."""
SET_ASIDE_SHOWN = 10


class CreateWebhook(requests.Body):
    """POST /v1/webhooks."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://", max_length=addresses.URL_MAX)]
    event_types: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=200)]],
        msgspec.Meta(min_length=1, max_length=100),
    ]
    description: requests.Text | UnsetType = UNSET


class RotateSecret(requests.Body):
    """POST /v1/webhooks/{id}/rotate."""


@blueprint.post("/v1/webhooks")
def create_webhook() -> flask.Response:
    """Register a receiver; it gets what is committed from here on."""
    caller = web.caller(Rank.ADMIN)
    body = web.body(CreateWebhook)
    fault = refusal(body.url, dispatcher.trusted(web.services().settings))

    def change(tx: web.Tx) -> idempotency.Reply:
        if fault is not None:
            raise fault
        check_types(body.event_types)
        check_number(tx)
        secret = signing.new_secret()
        webhook_id = insert(tx, caller, body, secret)
        row = need_row(tx, webhook_id)
        headers = {"Location": f"/v1/webhooks/{webhook_id}", "ETag": web.etag(row["version"])}
        shown = {**view(tx, row), "secret": secret}
        return web.json_reply(201, shown, target=webhook_id, headers=headers)

    return web.write(caller, "createWebhook", change)


def refusal(url: str, trusted: Collection[str]) -> Problem | None:
    """Return why deliveries may not go to a URL; a name without an address is no reason."""
    try:
        place = addresses.parse(url, trusted)
        with TURNS.away():
            sending.resolved(place, addresses.resolve_by_system, RESOLVE_S)
    except addresses.NotAllowedError as error:
        return Problem("url_not_allowed", f"Events are not sent there: {error}.")
    except OSError:
        return None
    return None


def check_types(types: list[str]) -> None:
    """Refuse a type that there is not."""
    unknown = [name for name in types if name != store.ALL_TYPES and name not in events.TYPES]
    if unknown:
        detail = "A type is one of events.types of the capability document, or *."
        raise Problem("unknown_event_type", detail)


def check_number(tx: web.Tx) -> None:
    """Refuse more webhooks than are served."""
    number = tx.connection.execute("SELECT count(*) FROM webhooks").fetchone()[0]
    if number >= config.WEBHOOKS_MAX:
        raise Problem("too_many_webhooks", f"There are {config.WEBHOOKS_MAX} already; end one.")


def insert(tx: web.Tx, caller: access.Caller, body: CreateWebhook, secret: str) -> str:
    """Write a webhook and where it begins; return its id."""
    webhook_id = ids.new_id("whk", tx.now_ms)
    tx.connection.execute(
        "INSERT INTO webhooks (id, url, event_types, description, status, secret, created_at,"
        " created_by) VALUES (?, ?, ?, ?, 'active', ?, ?, ?)",
        (
            webhook_id,
            body.url,
            json.dumps(list(dict.fromkeys(body.event_types))),
            given(body.description),
            tx.services.sealer.seal(secret),
            tx.now_ms,
            caller.user_id,
        ),
    )
    store.begin(tx.connection, webhook_id, store.newest(tx.connection))
    return webhook_id


@blueprint.get("/v1/webhooks")
def list_webhooks() -> flask.Response:
    """Return a page of webhooks with their delivery figures."""
    caller = web.caller(Rank.ADMIN, auditor=True)
    asked = listing.page("listWebhooks", caller.user_id, ("seq",), {})
    after, values, order = listing.keyset(asked, ("seq",))
    query = f"SELECT * FROM webhooks WHERE {after} ORDER BY {order} LIMIT {asked.limit + 1}"  # noqa: S608 - own names and marks
    with web.snapshot() as tx:
        rows = tx.connection.execute(query, values).fetchall()
        document = listing.answer(asked, rows, lambda row: [row["seq"]], lambda row: view(tx, row))
    return web.respond_json(document)


@blueprint.get("/v1/webhooks/<webhook_id>")
def get_webhook(webhook_id: str) -> flask.Response:
    """Return one webhook, with the events that it did not take."""
    web.caller(Rank.ADMIN, auditor=True)
    with web.snapshot() as tx:
        row = need_row(tx, webhook_id)
        tag = web.etag(row["version"])
        aside = store.set_aside(tx.connection, webhook_id, SET_ASIDE_SHOWN)
        shown = {**view(tx, row), "set_aside": [view_set_aside(each) for each in aside]}
    return web.not_modified(tag) or web.respond_json(shown, {"ETag": tag})


@blueprint.delete("/v1/webhooks/<webhook_id>")
def delete_webhook(webhook_id: str) -> flask.Response:
    """End a webhook: it gets nothing that is committed after this."""
    caller, header = web.caller(Rank.ADMIN), web.if_match()

    def change(tx: web.Tx) -> idempotency.Reply:
        row = need_row(tx, webhook_id)
        web.check_if_match(header, row["version"])
        tx.connection.execute("DELETE FROM webhooks WHERE id = ?", (webhook_id,))
        return idempotency.Reply(status=204, body=b"", headers={}, target=webhook_id)

    return web.write(caller, "deleteWebhook", change, once=False)


@blueprint.post("/v1/webhooks/<webhook_id>/rotate")
def rotate_webhook_secret(webhook_id: str) -> flask.Response:
    """Make a new secret; the one before signs as well for a while."""
    caller = web.caller(Rank.ADMIN)
    web.body(RotateSecret)

    def change(tx: web.Tx) -> idempotency.Reply:
        need_row(tx, webhook_id)
        secret = signing.new_secret()
        tx.connection.execute(
            "UPDATE webhooks SET old_secret = secret, old_until = ?, secret = ?,"
            " version = version + 1 WHERE id = ?",
            (
                tx.now_ms + tx.services.settings.webhook_overlap_s * 1000,
                tx.services.sealer.seal(secret),
                webhook_id,
            ),
        )
        row = need_row(tx, webhook_id)
        headers = {"ETag": web.etag(row["version"])}
        shown = {**view(tx, row), "secret": secret}
        return web.json_reply(200, shown, target=webhook_id, headers=headers)

    return web.write(caller, "rotateWebhookSecret", change)


def need_row(tx: web.Tx, webhook_id: str) -> Any:
    """Return a webhook; 404 if there is none."""
    row = tx.connection.execute("SELECT * FROM webhooks WHERE id = ?", (webhook_id,)).fetchone()
    if row is None:
        raise access.not_found(f"webhook {webhook_id}")
    return row


def view(tx: web.Tx, row: Any) -> dict[str, Any]:
    """Return a webhook's wire form, without its secret."""
    figures = store.figures(tx.connection, row)
    for name in ("paused_until", "last_success_at", "last_failure_at"):
        figures[name] = clock.maybe(figures[name])
    until = row["old_until"]
    return {
        "id": row["id"],
        "url": row["url"],
        "event_types": json.loads(row["event_types"]),
        "description": row["description"],
        "status": row["status"],
        "disabled_reason": row["reason"],
        "version": row["version"],
        "created_at": clock.text(row["created_at"]),
        "old_secret_until": clock.maybe(until if until and until > tx.now_ms else None),
        "deliveries": figures,
    }


def view_set_aside(row: Any) -> dict[str, Any]:
    """Return the wire form of an event that was given up."""
    return {
        "event_id": row["event_id"],
        "seq": row["seq"],
        "attempts": row["attempts"],
        "reason": row["reason"],
        "at": clock.text(row["at"]),
    }


def declared(settings: config.Settings) -> dict[str, Any]:
    """Return what the capability document says of webhooks."""
    return {
        "signature": "standard-webhooks-v1",
        "allowed_hosts": sorted(dispatcher.trusted(settings)),
        "webhooks_max": config.WEBHOOKS_MAX,
        "timeout_ms": settings.webhook_timeout_ms,
        "retry_first_ms": settings.webhook_retry_ms,
        "retry_max_ms": settings.webhook_retry_max_ms,
        "attempts_max": settings.webhook_attempts,
        "give_up_s": settings.webhook_give_up_s,
        "waiting_max": WAITING_MAX,
        "overlap_s": settings.webhook_overlap_s,
    }
