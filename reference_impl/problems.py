"""Problem details (RFC 9457): the codes that this server answers with, and their form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a problem code always means."""

    status: int
    title: str
    retryable: bool = False


CATALOGUE: Mapping[str, Kind] = {
    "malformed_json": Kind(400, "The body is not valid JSON"),
    "validation_failed": Kind(400, "The request does not have the required shape"),
    "invalid_parameter": Kind(400, "A parameter is not valid"),
    "invalid_cursor": Kind(400, "The cursor is not valid"),
    "cursor_mismatch": Kind(400, "The cursor belongs to another query"),
    "idempotency_key_missing": Kind(400, "Idempotency-Key is required"),
    "idempotency_key_invalid": Kind(400, "Idempotency-Key is not valid"),
    "token_missing": Kind(401, "No access token"),
    "token_invalid": Kind(401, "The token is not valid"),
    "token_expired": Kind(401, "The token has expired"),
    "token_reused": Kind(401, "The refresh token was used before"),
    "bad_credentials": Kind(401, "Wrong name or password"),
    "mfa_invalid": Kind(401, "The code is wrong"),
    "mfa_replayed": Kind(401, "The code was used before"),
    "signature_invalid": Kind(401, "The signature is not valid"),
    "forbidden": Kind(403, "The role does not allow this"),
    "mfa_required": Kind(403, "A fresh second factor is required"),
    "role_escalation": Kind(403, "Roles cannot be raised this way"),
    "not_found": Kind(404, "Not found"),
    "method_not_allowed": Kind(405, "This method is not allowed here"),
    "username_taken": Kind(409, "The name is taken"),
    "mfa_already_enrolled": Kind(409, "A second factor exists"),
    "invalid_transition": Kind(409, "This change of state is not possible"),
    "account_suspended": Kind(409, "The account is suspended"),
    "account_closed": Kind(409, "The account is closed"),
    "account_merged": Kind(409, "The account is merged"),
    "balance_not_zero": Kind(409, "The account still has value"),
    "pending_holds": Kind(409, "Holds are pending"),
    "account_not_active": Kind(409, "An account is not active"),
    "fork_cooldown_active": Kind(409, "The account has forked recently", retryable=True),
    "already_reinvested": Kind(409, "This period was reinvested before"),
    "report_not_ready": Kind(409, "The report is not ready", retryable=True),
    "report_failed": Kind(409, "The report could not be built"),
    "no_strategy": Kind(409, "The account follows no strategy"),
    "not_pending": Kind(409, "The transaction is not pending"),
    "hold_of_order": Kind(409, "The hold belongs to an order"),
    "order_not_open": Kind(409, "The order is not open"),
    "already_reversed": Kind(409, "It was reversed before"),
    "not_in_maintenance": Kind(409, "Only in maintenance"),
    "too_many_webhooks": Kind(409, "There are too many webhooks"),
    "precondition_failed": Kind(412, "The object has changed"),
    "body_too_large": Kind(413, "The body is too large"),
    "unsupported_media_type": Kind(415, "The body is not JSON"),
    "idempotency_payload_mismatch": Kind(422, "This key was used with another payload"),
    "precondition_unmet": Kind(422, "A precondition is not met"),
    "password_policy": Kind(422, "The password is too weak"),
    "current_password_wrong": Kind(422, "The current password is wrong"),
    "unsupported_currency": Kind(422, "This currency is not offered"),
    "insufficient_available": Kind(422, "Not enough money is available"),
    "currency_mismatch": Kind(422, "The currencies differ"),
    "same_account": Kind(422, "Source and target are the same"),
    "withdrawal_not_allowed": Kind(422, "Withdrawals are not allowed from this account"),
    "amount_out_of_range": Kind(422, "The amount is out of range"),
    "invalid_expiry": Kind(422, "The expiry is not valid"),
    "exceeds_hold": Kind(422, "More than was held"),
    "insufficient_position": Kind(422, "The position is too small"),
    "execution_invalid": Kind(422, "The execution does not fit the order"),
    "url_not_allowed": Kind(422, "This address is not allowed"),
    "unknown_event_type": Kind(422, "There is no such type of event"),
    "not_reversible": Kind(422, "This transaction cannot be reversed"),
    "batch_rejected": Kind(422, "The batch was refused"),
    "owner_mismatch": Kind(422, "The owners differ"),
    "not_eligible": Kind(422, "The account is not eligible"),
    "lineage_depth_exceeded": Kind(422, "The lineage is too deep"),
    "amount_too_small": Kind(422, "The amount is too small to split"),
    "shares_invalid": Kind(422, "The shares do not add up"),
    "duplicate_source": Kind(422, "A source is named twice"),
    "target_in_sources": Kind(422, "The target is among the sources"),
    "too_many_sources": Kind(422, "Too many or too few sources"),
    "nothing_to_merge": Kind(422, "There is nothing to merge"),
    "below_merge_threshold": Kind(422, "Below the merge threshold"),
    "below_minimum": Kind(422, "Below the minimum"),
    "above_maximum": Kind(422, "Above the maximum"),
    "period_not_open": Kind(422, "The period is not open"),
    "policy_invalid": Kind(422, "The policy is not valid"),
    "strategy_refused": Kind(422, "The strategy engine refuses this"),
    "insufficient_history": Kind(422, "Not enough history"),
    "backup_invalid": Kind(422, "The backup does not verify"),
    "locked": Kind(423, "Too many failed logins", retryable=True),
    "precondition_required": Kind(428, "If-Match is required"),
    "rate_limited": Kind(429, "Too many requests", retryable=True),
    "internal_error": Kind(500, "Internal error"),
    "busy": Kind(503, "Busy", retryable=True),
    "read_only": Kind(503, "Read-only for maintenance", retryable=True),
    "insufficient_storage": Kind(507, "No space", retryable=True),
    "circuit_open": Kind(503, "The outside system is away", retryable=True),
    "integration_unavailable": Kind(503, "An outside system did not answer", retryable=True),
}

RETRY_AFTER_S = 1


class Problem(Exception):  # noqa: N818 - the RFC's own word for it
    """A request that is answered with a problem document."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Name the code; `extra` are further members, such as `merged_into_id`."""
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.kind = CATALOGUE[code]
        self.detail = detail or self.kind.title
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        self.audited = False
        if self.kind.status == 503:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_S))
        if self.kind.status == 401:
            self.headers.setdefault("WWW-Authenticate", 'Bearer realm="alluse"')

    def document(self, *, instance: str, trace_id: str) -> dict[str, Any]:
        """Return the members of the problem document."""
        return {
            "type": f"urn:alluse:problem:{self.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "errors": self.errors,
            "retryable": self.kind.retryable,
            "trace_id": trace_id,
            **self.extra,
        }

    def body(self, *, instance: str, trace_id: str) -> bytes:
        """Return the problem document as JSON."""
        return msgspec.json.encode(self.document(instance=instance, trace_id=trace_id))


def invalid(pointer: str, code: str, detail: str) -> Problem:
    """Return a `validation_failed` about one place in the body."""
    return Problem("validation_failed", detail, errors=[{"pointer": pointer, "code": code}])


def bad_parameter(name: str, detail: str) -> Problem:
    """Return an `invalid_parameter` about one query, path or header parameter."""
    return Problem("invalid_parameter", f"{name}: {detail}")
