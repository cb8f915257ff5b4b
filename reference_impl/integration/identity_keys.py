"""The keys of user management: kept in the database for all workers, renewed by age and by kid.

A key that is not there is the reason for one fetch; for a while it is then known to be missing, and
fetches are limited altogether. Keys that could not be renewed serve on, however old they are.
"""

import logging
import re
import sqlite3
from typing import Annotated, Any, Literal

import jwt
import msgspec
from msgspec import Meta

from reference_impl import web
from reference_impl.problems import Problem
from reference_impl.ratelimit import Rate

from .outbound import Answer, Call, CallFailedError, Reason
from .registry import USER_MANAGEMENT, Point

ALGORITHM = "ES256"
MAX_AGE_S_DEFAULT, MAX_AGE_S_MAX = 300, 24 * 3600
MISSING_MS = 60_000
"""A kid that was looked for is not looked for again for so long."""
MISSING_KEPT = 32
FETCHES = Rate(requests=6, window_s=10)
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,9})(?:$|[\s,])")
_log = logging.getLogger(__name__)


class Key(msgspec.Struct):
    """A public key of the issuer, as a JSON Web Key."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
    y: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
    kid: Annotated[str, Meta(min_length=1, max_length=100)]
    use: Literal["sig"]
    alg: Literal["ES256"]


class Keys(msgspec.Struct):
    """The set that the issuer publishes."""

    keys: Annotated[list[Key], Meta(min_length=1, max_length=16)]


class Cached(msgspec.Struct, kw_only=True):
    """What is kept: the keys, when they were fetched, and which kids were not among them."""

    keys: list[Key]
    fetched_ms: int
    max_age_s: int
    missing_ms: dict[str, int] = {}

    def find(self, kid: str) -> Key | None:
        """Return a key by its id."""
        return next((key for key in self.keys if key.kid == kid), None)

    def fresh(self, now_ms: int) -> bool:
        """Tell whether the issuer's max-age lasts."""
        return 0 <= now_ms - self.fetched_ms < self.max_age_s * 1000

    def known_missing(self, kid: str, now_ms: int) -> bool:
        """Tell whether this kid was looked for not long ago."""
        return 0 <= now_ms - self.missing_ms.get(kid, -MISSING_MS) < MISSING_MS


class _Metadata(msgspec.Struct):
    issuer: str
    jwks_uri: str


def key_of(shared: web.Services, kid: str, traceparent: str) -> Any:
    """Return the public key of this id, as PyJWT takes it; None if the issuer has none.

    Raises CallFailedError where the issuer is needed for the answer and brings none.
    """
    point = shared.outbound.registry[USER_MANAGEMENT]
    kept, now_ms = load(shared.readers.get(), point.url), shared.clock.now_ms()
    if kept is not None:
        found = kept.find(kid)
        settled = found is not None or kept.known_missing(kid, now_ms)
        if settled and kept.fresh(now_ms):
            return _usable(found)
        if not _may_fetch(shared):
            return _usable(found)
    try:
        renewed = _fetch(shared, point, traceparent)
    except CallFailedError as failed:
        if kept is None or kept.find(kid) is None:
            raise
        _log.info("identity keys of %s serve on: %s", point.url, failed)
        return _usable(kept.find(kid))
    store(shared, point.url, renewed, None if renewed.find(kid) else kid)
    return _usable(renewed.find(kid))


def _may_fetch(shared: web.Services) -> bool:
    try:
        shared.limits.take("identity-keys", USER_MANAGEMENT, FETCHES)
    except Problem:
        return False
    return True


def _usable(key: Key | None) -> Any:
    if key is None:
        return None
    try:
        return jwt.PyJWK(msgspec.to_builtins(key), ALGORITHM).key
    except (jwt.PyJWTError, ValueError):  # not a point of the curve
        return None


def _fetch(shared: web.Services, point: Point, traceparent: str) -> Cached:
    """Ask the issuer what it says of itself, then for its keys, at the same origin only."""

    def get(operation: str, target: str, needs: Any) -> Answer:
        call = Call(
            operation=operation,
            method="GET",
            target=target,
            needs=needs,
            traceparent=traceparent,
            public=True,
        )
        answer = shared.outbound.call(USER_MANAGEMENT, call)
        if answer.status >= 400:
            raise CallFailedError(point.name, Reason.INVALID, f"answered {answer.status}")
        return answer

    said = get("getMetadata", "/.well-known/openid-configuration", _Metadata).document
    if said.issuer != point.url or not said.jwks_uri.startswith(f"{point.url}/"):
        raise CallFailedError(point.name, Reason.INVALID, "the issuer names another one")
    answer = get("getKeys", said.jwks_uri.removeprefix(point.url), Keys)
    control = next((v for k, v in answer.headers if k.lower() == "cache-control"), "")
    age = _MAX_AGE.search(control)
    return Cached(
        keys=answer.document.keys,
        fetched_ms=shared.clock.now_ms(),
        max_age_s=min(int(age[1]), MAX_AGE_S_MAX) if age else MAX_AGE_S_DEFAULT,
    )


def load(connection: sqlite3.Connection, issuer: str) -> Cached | None:
    """Return what is kept of an issuer."""
    row = connection.execute(
        "SELECT document FROM identity_keys WHERE issuer = ?", (issuer,)
    ).fetchone()
    return None if row is None else msgspec.json.decode(row["document"], type=Cached)


def store(shared: web.Services, issuer: str, renewed: Cached, missing: str | None) -> None:
    """Keep what was fetched, for all workers; a busy writer only makes the next one fetch again."""

    def write(connection: sqlite3.Connection) -> None:
        before = load(connection, issuer)
        names = dict(before.missing_ms) if before else {}
        if missing is not None:
            names[missing] = renewed.fetched_ms
        latest = sorted(names.items(), key=lambda item: item[1])[-MISSING_KEPT:]
        renewed.missing_ms = {kid: at_ms for kid, at_ms in latest if renewed.find(kid) is None}
        connection.execute(
            "INSERT INTO identity_keys VALUES (?, ?) ON CONFLICT (issuer)"
            " DO UPDATE SET document = excluded.document",
            (issuer, msgspec.json.encode(renewed).decode()),
        )

    try:
        shared.writer.submit(write)
    except Problem as busy:
        _log.info("identity keys were not kept: %s", busy.code)
