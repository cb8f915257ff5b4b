"""The module testability: a clock that can be turned forward, snapshots of the book, and resets.

Off unless it was enabled at start, and refused together with `production`: whoever may call it can
make the book be what it was, without the epoch that a restore leaves. Of no use to a certificate.
"""

import mmap
import os
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import flask
import msgspec

from reference_impl import access, clock, database, ids, requests, web, writer
from reference_impl.access import Rank
from reference_impl.clock import Clock
from reference_impl.problems import invalid
from reference_impl.turns import TURNS

from . import pages, store

blueprint = flask.Blueprint("testability", __name__)
_OFFSET = struct.Struct("=q")


class TurnedClock:
    """A clock that is ahead of another by what all workers share in a mapped file."""

    def __init__(self, path: Path, inner: Clock) -> None:
        """Map the file, and make it, at zero, if it is not there."""
        self._inner = inner
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < _OFFSET.size:
                os.ftruncate(descriptor, _OFFSET.size)
            self._map = mmap.mmap(descriptor, _OFFSET.size)
        finally:
            os.close(descriptor)

    def now_ms(self) -> int:
        """Return milliseconds since 1970, as turned."""
        return self._inner.now_ms() + int(_OFFSET.unpack_from(self._map)[0])

    def advance(self, seconds: int) -> None:
        """Turn it forward for every worker; call it inside the writer's turn."""
        _OFFSET.pack_into(self._map, 0, _OFFSET.unpack_from(self._map)[0] + seconds * 1000)


class Control(requests.Body):
    """POST /v1/_test/control."""

    action: Literal["advance_clock", "snapshot", "reset"]
    advance_s: Annotated[int, msgspec.Meta(ge=1, le=315_360_000)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    snapshot_id: requests.Id | msgspec.UnsetType = msgspec.UNSET


@blueprint.post("/v1/_test/control")
def control() -> flask.Response:
    """Turn the clock, take a snapshot, or reset the book to one."""
    web.caller(Rank.ADMIN)
    body = web.body(Control)
    wanted = {"advance_clock": "advance_s", "snapshot": None, "reset": "snapshot_id"}[body.action]
    for name in ("advance_s", "snapshot_id"):
        present = requests.given(getattr(body, name)) is not None
        if present != (name == wanted):
            code = "not_allowed" if present else "required"
            raise invalid(f"/{name}", code, f"{body.action} takes {wanted or 'nothing'}.")
    with TURNS.away():
        shown = ACTIONS[body.action](web.services(), body)
    now = clock.text(web.now_ms())
    return web.respond_json({"action": body.action, "now": now, **shown})


def advance(shared: web.Services, body: Control) -> dict[str, Any]:
    """Turn the clock of every worker."""
    turned, seconds = shared.clock, requests.given(body.advance_s)
    assert isinstance(turned, TurnedClock)  # noqa: S101 - create_app gave it one
    shared.writer.submit(lambda _: turned.advance(seconds or 0))
    return {}


def folder(path: Path) -> Path:
    """Return where the snapshots are."""
    return Path(f"{path}.snapshots")


def snapshot(shared: web.Services, _: Control) -> dict[str, Any]:
    """Copy the book."""
    place = folder(shared.settings.database)
    place.mkdir(mode=0o700, exist_ok=True)
    name = ids.new_id("snp", shared.clock.now_ms())
    with store.no_space():
        pages.snapshot(shared.settings.database, place / f"{name}.db")
    return {"snapshot_id": name}


def reset(shared: web.Services, body: Control) -> dict[str, Any]:
    """Put a snapshot in the place of the book, in one commit."""
    path, name = shared.settings.database, str(requests.given(body.snapshot_id))
    image = folder(path) / f"{name}.db"
    if not image.is_file():
        raise access.not_found(f"snapshot {name}")
    with (
        Path(f"{path}.lock").open("ab") as gate,
        writer.locked(gate.fileno()),
        closing(database.connect(path)) as live,
        closing(pages.open_image(image)) as kept,
    ):
        kept.backup(live, pages=-1)
        shared.gate.follow(live)
    return {"snapshot_id": name}


ACTIONS: dict[str, Callable[[web.Services, Control], dict[str, Any]]] = {
    "advance_clock": advance,
    "snapshot": snapshot,
    "reset": reset,
}
