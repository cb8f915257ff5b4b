"""Reads what a deployment declares about itself, or says in one sentence why it is none."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certification.contract import ContractDecodeError, Violation, parse_json
from certification.errors import CertificationError, TargetLost, UsageError
from certification.model import Json, TargetIdentity
from certification.target.backpressure import retry_after_s
from certification.target.client import Request
from certification.target.limits import Clock, Wait, wait
from certification.target.outcomes import Answer, Lost, NoAnswer
from certification.target.reply import is_json
from certification.target.session import Access
from certification.target.tokens import BUSY_TRIES_MAX, BUSY_WAIT_MAX_S

CAPABILITY_PATH = "/.well-known/alluse"
READY_TRY_S = 2.0
READY_PAUSE_S = 0.2


class NotConforming(UsageError):  # noqa: N818  says what it is
    """What answers at the base URL is not a deployment of the contract at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """A capability document that can be worked with."""

    identity: TargetIdentity
    document: Json
    violations: tuple[Violation, ...]
    """In what the document is not what the contract asks for; for the check that judges it."""


def read_capability(access: Access, *, target_id: str) -> Capability:
    """Read the capability document and the deployment's identity from it.

    Raises `NotConforming` where something else answers, and `TargetLost` where nothing does; each
    with one sentence that says what was seen. A document with modules and a version that breaks
    other rules is returned with its violations: the deployment is judged by checks, not here.
    """
    client = access.client
    url = client.settings.base_url.join(CAPABILITY_PATH)
    request = Request(method="GET", target=CAPABILITY_PATH, operation="getCapabilities")
    outcome = _patiently(access, request)
    if isinstance(outcome, NoAnswer):
        raise _unanswered(url, outcome)
    document = _document(url, outcome)
    declared = _modules(document)
    if not declared or not isinstance(document.get("contract_version"), str):
        raise _other(url, "answers JSON that is no capability document: it declares no modules")
    implementation = document.get("implementation")
    named = implementation if isinstance(implementation, Mapping) else {}
    identity = TargetIdentity(
        target_id=target_id,
        base_url=client.settings.base_url.text,
        implementation=_text(named.get("name")),
        version=_text(named.get("version")),
        build=_text(document.get("build")),
        instances=(_text(document.get("instance")),),
        contract_version=_text(document.get("contract_version")),
        openapi_sha256=_text(document.get("openapi_sha256")),
        modules=declared,
        capability_sha256=hashlib.sha256(outcome.body).hexdigest(),
    )
    violations = access.contract.capability_violations(document)
    return Capability(identity=identity, document=document, violations=violations)


def read_lag_s(document: Mapping[str, Any]) -> float:
    """Return how long a read may lag behind a write, as declared; 0 where writes are read at once.

    What is not of the contract's shape there is for the check of the capability document to tell.
    """
    declared: Any = document
    for name in ("consistency", "read_your_writes", "bounded_ms"):
        declared = declared.get(name) if isinstance(declared, Mapping) else None
    return declared / 1000 if type(declared) is int else 0.0


def _patiently(access: Access, request: Request) -> Answer | NoAnswer:
    surroundings = access.client.surroundings
    outcome = access.client.send(request, access.sink)
    for _ in range(BUSY_TRIES_MAX - 1):
        if not isinstance(outcome, Answer) or outcome.status != 503:
            break
        delay_s = retry_after_s(outcome.get("Retry-After"), now=surroundings.now())
        if delay_s is None:
            break
        surroundings.wait(min(delay_s, BUSY_WAIT_MAX_S))
        outcome = access.client.send(request, access.sink)
    return outcome


def ready(access: Access, *, deadline_s: float = READY_TRY_S) -> bool:
    """Ask once whether the deployment is ready to serve."""
    operation = access.contract.operations["getReadiness"]
    outcome = access.client.send(
        Request(
            method=operation.method,
            target=operation.url_path({}),
            operation=operation.id,
            deadline_s=deadline_s,
        ),
        access.sink,
    )
    return isinstance(outcome, Answer) and outcome.status == 200


def wait_until_ready(
    access: Access, *, deadline_s: float, wait: Wait = wait, clock: Clock = time.monotonic
) -> None:
    """Ask until the deployment is ready; `TargetLost` where it is not within the deadline.

    Used after a lost connection: a target that comes back is asked again, one that does not ends
    the run without a verdict on it.
    """
    end = clock() + deadline_s
    while (left := end - clock()) > 0:
        if ready(access, deadline_s=min(READY_TRY_S, left)):
            return
        wait(min(READY_PAUSE_S, max(end - clock(), 0)))
    raise TargetLost(
        f"{access.client.settings.base_url.text} was not ready again within {deadline_s:g} s",
        hint="look at the deployment's own logs, then run again",
    )


def _unanswered(url: str, outcome: NoAnswer) -> CertificationError:  # noqa: PLR0911  one a reason
    match outcome.reason:
        case Lost.TOO_LARGE:
            return _other(url, f"answers without end: {outcome.detail}")
        case Lost.DEADLINE if outcome.status is not None:
            return _other(url, f"begins an answer and never ends it: {outcome.detail}")
        case Lost.DEADLINE:
            return TargetLost(
                f"{url} did not answer: {outcome.detail}",
                hint="is the deployment started, and reachable from here?",
            )
        case Lost.PROTOCOL_ERROR:
            return _other(url, f"does not speak HTTP/1.1: {outcome.detail}")
        case Lost.TLS:
            return UsageError(
                f"no TLS connection to {url}: {outcome.detail}",
                hint="set tls.ca, or tls.client_certificate and tls.client_key, in the target file",
            )
        case Lost.REFUSED:
            return TargetLost(
                f"no connection to {url}: {outcome.detail}",
                hint="is the deployment started, and base_url right?",
            )
        case Lost.CONNECTION_LOST:
            return TargetLost(f"{url} closed the connection without an answer: {outcome.detail}")


def _document(url: str, answer: Answer) -> Json:
    if 300 <= answer.status < 400:
        raise _other(
            url,
            f"redirects ({answer.status}) to {_shown(answer.get('Location'))}; "
            "redirects are never followed",
            hint="set target.base_url to where the deployment itself answers",
        )
    if answer.status == 404:
        raise _other(url, "is not there (404)")
    if answer.status != 200:
        raise _other(url, f"answers {answer.status}")
    if answer.violations:
        raise _other(url, f"cannot be read: {answer.violations[0]}")
    media_type = answer.get("Content-Type")
    if not is_json(media_type):
        page = "an HTML page" if "html" in (media_type or "") else _shown(media_type)
        raise _other(url, f"answers {page}, not JSON")
    try:
        document = parse_json(answer.body)
    except ContractDecodeError as error:
        raise _other(url, f"answers JSON that cannot be read: {error.reason}") from None
    if not isinstance(document, dict):
        raise _other(url, "answers JSON that is not an object")
    return document


def _modules(document: Json) -> tuple[str, ...]:
    listed = document.get("modules")
    rows = listed if isinstance(listed, list) else []
    names = (row.get("id") for row in rows if isinstance(row, Mapping))
    return tuple(_text(name) for name in names if isinstance(name, str))


def _other(url: str, seen: str, *, hint: str | None = None) -> NotConforming:
    return NotConforming(
        f"not a conforming deployment: {url} {seen}",
        hint=hint or "check target.base_url: below it, /.well-known/alluse must answer",
    )


def _shown(text: str | None) -> str:
    return ascii((text or "nothing")[:100])


def _text(value: object) -> str:
    """Return a short text of what the target said, without control characters."""
    text = value if isinstance(value, str) else "unknown"
    return "".join(character if character.isprintable() else "?" for character in text[:200])
