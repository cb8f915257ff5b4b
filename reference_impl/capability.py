"""The capability document: what this deployment declares about itself, and nothing it lacks."""

import functools
import hashlib
from pathlib import Path
from typing import Any

import flask

from . import __version__, config, events, health, metrics_scrape, totp, tracing, web
from .alerting import rules
from .delivery import webhooks
from .growth import policies
from .integration import status

blueprint = flask.Blueprint("capability", __name__)

CONTRACT_VERSION = "0.1.0"
NOT_BUILT: tuple[str, ...] = ()
"""Operations of the module operations that are not there."""
NOT_INTEGRATED: tuple[str, ...] = ()
"""Operations of the module integration that are not there."""


def _lacks(names: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"operationId": name, "reason": "not built yet; answers 404"} for name in names]


def _module(name: str, lacks: tuple[str, ...] = ()) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": name, "version": CONTRACT_VERSION, "level": "full"}
    return shown | ({"level": "partial", "deviations": _lacks(lacks)} if lacks else {})


MODULES = (
    _module("core"),
    _module("growth"),
    _module("analytics"),
    _module("operations", NOT_BUILT),
    _module("integration", NOT_INTEGRATED),
)
STORED_STATUSES = (200, 201, 409, 412, 422)


@functools.cache
def build_digest() -> str:
    """Return the digest of the code that runs: every source file of this package."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".py", ".sql", ".json", ".html", ".js", ".css"}:
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return f"sha256-{digest.hexdigest()[:32]}"


def document(shared: web.Services) -> dict[str, Any]:
    """Return the document of this instance."""
    settings = shared.settings
    return {
        "contract_version": CONTRACT_VERSION,
        "implementation": {
            "name": "alluse-reference",
            "version": __version__,
            "language": "python",
        },
        "build": shared.build,
        "instance": shared.instance,
        "modules": modules(settings),
        "currencies": [
            {"code": code, "exponent": exponent} for code, exponent in config.CURRENCIES.items()
        ],
        "limits": {
            "amount_max": config.MAX_AMOUNT,
            "page_max": config.PAGE_MAX,
            "body_bytes_max": config.BODY_BYTES_MAX,
            "batch_items_max": config.BATCH_ITEMS_MAX,
            "merge_sources_max": config.MERGE_SOURCES_MAX,
            "hold_ttl_s_max": config.HOLD_TTL_S_MAX,
            "metadata_bytes_max": config.METADATA_BYTES_MAX,
        },
        "idempotency": {
            "retention_seconds": config.IDEMPOTENCY_RETENTION_S,
            "stored_statuses": list(STORED_STATUSES),
        },
        "consistency": {"read_your_writes": True, "growth": "atomic"},
        "auth": auth(settings),
        "growth_policy": policies.declared(shared.readers.get()),
        "audit": {
            "hash": "sha-256",
            "tree": "rfc9162",
            "checkpoint_key": shared.signer.public_key,
        },
        "events": events.declared(),
        "webhooks": webhooks.declared(settings),
        "integrations": status.declared(shared),
        "observability": observability(shared),
        "backup": {"types": ["full", "incremental", "configuration"]},
        "components": [
            {"name": name, "health": check} for name, check in health.components(shared).items()
        ],
        "clock": {"controllable": settings.testability},
    }


def auth(settings: config.Settings) -> dict[str, Any]:
    """Return how principals prove who they are, and what guards the way in."""
    return {
        "schemes": ["bearer"],
        "token_ttl": config.ACCESS_TTL_S,
        "refresh_ttl": config.REFRESH_TTL_S,
        "password": {
            "min_length": config.PASSWORD_LENGTH_MIN,
            "max_length": config.PASSWORD_LENGTH_MAX,
            "blocklist": True,
            "history": config.PASSWORD_HISTORY,
            "complexity": list(config.complexity(settings)),
        },
        "lockout": {
            "threshold": config.LOCKOUT_THRESHOLD,
            "seconds": max(config.LOCKOUT_DELAYS_S),
            "delays_s": list(config.LOCKOUT_DELAYS_S),
        },
        "session": {"idle_s": config.SESSION_IDLE_S, "absolute_s": config.SESSION_TTL_S},
        "mfa": [
            {
                "method": "totp",
                "digits": totp.DIGITS,
                "period": totp.PERIOD_S,
                "skew": totp.SKEW_STEPS,
            }
        ],
        "rate_limit": {
            "requests": settings.rate_requests,
            "window_s": settings.rate_window_s,
        },
        "login_rate_limit": {
            "requests": settings.login_requests,
            "window_s": settings.login_window_s,
        },
    }


def modules(settings: config.Settings) -> list[dict[str, Any]]:
    """Return the modules; without metrics their operation is one more that is not there."""
    shown: list[dict[str, Any]] = [dict(module) for module in MODULES]
    if not settings.metrics:
        lacks = {"operationId": "getMetrics", "reason": "switched off; answers 404"}
        for module in shown:
            if module["id"] == "operations":
                module["deviations"] = [*module.get("deviations", ()), lacks]
                module["level"] = "partial"
    if settings.testability:
        shown.append(_module("testability"))
    return shown


def observability(shared: web.Services) -> dict[str, Any]:
    """Return what can be observed from outside."""
    settings = shared.settings
    shown: dict[str, Any] = {"trace_headers": list(tracing.HEADERS)}
    if settings.metrics:
        outside = status.MEANINGS if any(p.configured for p in shared.outbound.registry) else {}
        shown["metrics"] = {**metrics_scrape.MEANINGS, **outside}
        shown |= rules.declared(settings.alert_scale)
    if settings.access_log:
        shown["log_format"] = "json-lines"
    return shown


@blueprint.get("/.well-known/alluse")
def get_capabilities() -> flask.Response:
    """Answer with the capability document; the ETag covers what can change in it."""
    shared = web.services()
    shown = document(shared)
    refs = " ".join(found["policy_ref"] for found in shown.get("growth_policy", ()))
    policy_tag = hashlib.sha256(refs.encode()).hexdigest()[:8]
    tag = f'"{shared.build[7:19]}-{shared.instance[:12]}-{policy_tag}"'
    return web.not_modified(tag) or web.respond_json(shown, {"ETag": tag})
