"""What requests may look like: strict JSON, and one struct for each body of the contract."""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from . import ledger, strict_json
from .config import BATCH_ITEMS_MAX, MAX_AMOUNT, METADATA_BYTES_MAX
from .problems import Problem, invalid

METADATA_DEPTH_MAX = 32
METADATA_MEMBERS_MAX = 50
_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*\Z"

T = TypeVar("T")
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
Line1 = Annotated[str, Meta(min_length=1, max_length=200, pattern=_NO_CONTROLS)]
Text = Annotated[str, Meta(max_length=500, pattern=_NO_CONTROLS)]
Reason = Annotated[str, Meta(min_length=1, max_length=500, pattern=_NO_CONTROLS)]
Password = Annotated[str, Meta(min_length=1, max_length=1024)]
Token = Annotated[str, Meta(min_length=1, max_length=4096)]
NotNegative = Annotated[int, Meta(ge=0, le=MAX_AMOUNT)]
Signed = Annotated[int, Meta(ge=-MAX_AMOUNT, le=MAX_AMOUNT)]
BasisPoints = Annotated[int, Meta(ge=0, le=10_000)]
Instant = Annotated[datetime, Meta(tz=True)]
Metadata = dict[str, Any]
AccountType = Literal["generation", "revenue", "compounding"]
RequestKind = Literal[
    "deposit",
    "withdrawal",
    "transfer",
    "premium",
    "assignment",
    "fee",
    "tax",
    "interest",
    "adjustment",
]
Role = Literal["customer", "operator", "manager", "admin", "auditor", "service"]
Roles = Annotated[list[Role], Meta(min_length=1, max_length=6)]
UserStatus = Literal["active", "locked", "disabled"]


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A request body: members beyond the declared ones are refused."""


class Login(Body):
    """POST /v1/auth/login."""

    username: Annotated[str, Meta(min_length=1, max_length=256)]
    password: Password


class Refresh(Body):
    """POST /v1/auth/refresh."""

    refresh_token: Token


class Logout(Body):
    """POST /v1/auth/logout."""

    refresh_token: Token | UnsetType = UNSET


Code = Annotated[str, Meta(pattern=r"^[0-9]{6,8}\Z")]


class MfaVerify(Body):
    """POST /v1/auth/mfa/verify."""

    challenge: Token
    code: Code


class MfaEnroll(Body):
    """POST /v1/auth/mfa/enroll."""

    method: Literal["totp"]
    code: Code | UnsetType = UNSET


class MfaDisable(Body):
    """POST /v1/auth/mfa/disable."""

    code: Code


class CreateUser(Body):
    """POST /v1/users."""

    username: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{2,63}\Z")]
    password: Password
    roles: Roles
    email: (
        Annotated[
            str, Meta(max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\Z")
        ]
        | UnsetType
    ) = UNSET
    legal_name: Line1 | UnsetType = UNSET


class UpdateUser(Body):
    """PATCH /v1/users/{id}."""

    password: Password | UnsetType = UNSET
    current_password: Password | UnsetType = UNSET
    roles: Roles | UnsetType = UNSET
    status: UserStatus | UnsetType = UNSET


class CreateAccount(Body):
    """POST /v1/accounts."""

    type: AccountType
    currency: Currency
    name: Line1
    owner_id: Id | UnsetType = UNSET
    base_amount: NotNegative = 0
    min_balance: NotNegative = 0
    buffer_bps: BasisPoints = 500
    withdrawal_allowed: bool | UnsetType = UNSET
    metadata: Metadata = {}
    external_account_ref: Line1 | UnsetType = UNSET


class UpdateAccount(Body):
    """PATCH /v1/accounts/{id}."""

    name: Line1 | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    status: Literal["active", "suspended"] | UnsetType = UNSET
    buffer_bps: BasisPoints | UnsetType = UNSET
    min_balance: NotNegative | UnsetType = UNSET


class CloseAccount(Body):
    """POST /v1/accounts/{id}/close."""

    sweep_to: Id | UnsetType = UNSET
    reason: Text | UnsetType = UNSET


class Money(Body):
    """An amount of at least one minor unit."""

    amount: Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]
    currency: Currency


class Precondition(Body):
    """What must hold of an account at the moment of the booking."""

    account_id: Id
    version: NotNegative | UnsetType = UNSET
    available_gte: Signed | UnsetType = UNSET
    ledger_eq: Signed | UnsetType = UNSET


class CreateTransaction(Body):
    """POST /v1/transactions, and one item of a batch."""

    kind: RequestKind
    amount: Money
    from_account_id: Id | UnsetType = UNSET
    to_account_id: Id | UnsetType = UNSET
    direction: Literal["credit", "debit"] | UnsetType = UNSET
    hold: bool = False
    expires_at: Instant | UnsetType = UNSET
    effective_at: Instant | UnsetType = UNSET
    memo: Text | UnsetType = UNSET
    reason: Text | UnsetType = UNSET
    metadata: Metadata = {}
    preconditions: Annotated[list[Precondition], Meta(max_length=10)] = []


class SettleTransaction(Body):
    """POST /v1/transactions/{id}/settle."""

    amount: Money | UnsetType = UNSET


class VoidTransaction(Body):
    """POST /v1/transactions/{id}/void."""


class ReverseTransaction(Body):
    """POST /v1/transactions/{id}/reverse."""

    reason: Reason


class CreateBatch(Body):
    """POST /v1/transactions/batch."""

    items: Annotated[list[CreateTransaction], Meta(min_length=1, max_length=BATCH_ITEMS_MAX)]
    all_or_nothing: bool = False


def given(value: T | UnsetType) -> T | None:
    """Return the value of an optional member, None if it was left out."""
    return None if value is UNSET else value


def parse(raw: bytes) -> Any:
    """Decode strict JSON; Problem `malformed_json` for everything that is not."""
    try:
        return strict_json.loads(raw)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Problem("malformed_json", f"The body is not valid JSON: {reason[:200]}") from None


def decode(document: Any, kind: type[T]) -> T:
    """Turn a JSON document into its struct; Problem `validation_failed` with a pointer."""
    try:
        body = msgspec.convert(document, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise _validation_problem(str(error)) from None
    _check_shape(body)
    return body


_AT = re.compile(r" - at `\$(.*)`$")
_MEMBER = re.compile(r"(?:unknown field|required field|missing required field) `([^`]*)`")


def _validation_problem(message: str) -> Problem:
    path = _AT.search(message)
    pointer = re.sub(r"\.|\[(?=\d)", "/", path[1]).replace("]", "") if path else ""
    pointer = pointer.replace("[...", "")
    reason = message[: path.start()] if path else message
    member = _MEMBER.search(reason)
    if member:
        name = member[1].replace("~", "~0").replace("/", "~1")
        code = "unknown_member" if "unknown" in reason else "missing"
        return invalid(f"{pointer}/{name}", code, reason)
    code = "type" if "got" in reason else "range"
    return invalid(pointer, code, reason)


def _check_shape(body: Any) -> None:
    """Check what crosses members, beyond what the struct says."""
    match body:
        case CreateTransaction():
            _check_transaction(body, "")
        case CreateBatch():
            for index, item in enumerate(body.items):
                _check_transaction(item, f"/items/{index}")
        case CreateAccount() | UpdateAccount():
            if body.metadata is not UNSET:
                _check_metadata(body.metadata, "")
        case UpdateUser():
            if body.current_password is not UNSET and body.password is UNSET:
                raise invalid("/password", "missing", "current_password comes with password")
            _check_roles(body.roles)
        case CreateUser():
            _check_roles(body.roles)
        case _:
            pass
    if isinstance(body, UpdateAccount | UpdateUser) and body == type(body)():
        raise invalid("", "min_properties", "The body names nothing to change")


def _check_roles(roles: list[Any] | UnsetType) -> None:
    if roles is not UNSET and len(set(roles)) != len(roles):
        raise invalid("/roles", "unique", "A role is named twice")


def _check_metadata(metadata: Metadata, at: str) -> None:
    if not metadata:
        return
    if len(metadata) > METADATA_MEMBERS_MAX:
        raise invalid(f"{at}/metadata", "max_properties", "metadata has too many members")
    if depth(metadata) > METADATA_DEPTH_MAX:
        raise invalid(f"{at}/metadata", "depth", f"Nested deeper than {METADATA_DEPTH_MAX}")
    if len(compact(metadata).encode()) > METADATA_BYTES_MAX:
        detail = f"metadata is larger than {METADATA_BYTES_MAX} bytes"
        raise invalid(f"{at}/metadata", "max_bytes", detail)


def check_metadata(metadata: Metadata, at: str) -> None:
    """Refuse metadata beyond its bounds, for bodies declared elsewhere."""
    _check_metadata(metadata, at)


def _check_transaction(body: CreateTransaction, at: str) -> None:
    """Check that a transaction names the members of its kind and no others."""
    adjustment = body.kind == "adjustment"
    _check_member(body.direction, "direction", needed=adjustment, where=(at, body.kind))
    if adjustment and body.reason is UNSET:
        raise invalid(f"{at}/reason", "missing", "An adjustment gives its reason")
    rule = ledger.kind_rule(body.kind, given(body.direction))
    from_needed = rule.source is ledger.Place.CASH
    to_needed = rule.target is ledger.Place.CASH
    _check_member(
        body.from_account_id, "from_account_id", needed=from_needed, where=(at, body.kind)
    )
    _check_member(body.to_account_id, "to_account_id", needed=to_needed, where=(at, body.kind))
    if body.hold and not rule.holdable:
        raise invalid(f"{at}/hold", "kind", f"A {body.kind} cannot be held")
    _check_instant(body.expires_at, f"{at}/expires_at")
    _check_instant(body.effective_at, f"{at}/effective_at")
    if body.expires_at is not UNSET and not body.hold:
        raise invalid(f"{at}/expires_at", "needs_hold", "expires_at comes with hold: true")
    for index, condition in enumerate(body.preconditions):
        if condition == Precondition(account_id=condition.account_id):
            pointer = f"{at}/preconditions/{index}"
            raise invalid(pointer, "min_properties", "A precondition names what must hold")
    _check_metadata(body.metadata, at)


def _check_instant(instant: datetime | UnsetType, pointer: str) -> None:
    """Refuse an instant that has no date in UTC, at either end of the calendar."""
    if isinstance(instant, datetime):
        try:
            instant.astimezone(UTC)
        except OverflowError:
            raise invalid(pointer, "range", "Out of the calendar") from None


def _check_member(value: object, name: str, *, needed: bool, where: tuple[str, str]) -> None:
    at, kind = where
    if needed and value is UNSET:
        raise invalid(f"{at}/{name}", "missing", f"A {kind} needs {name}")
    if not needed and value is not UNSET:
        raise invalid(f"{at}/{name}", "unknown_member", f"A {kind} has no {name}")


def compact(document: Any) -> str:
    """Render a document without white space, members in their order."""
    if not document:
        return "{}" if isinstance(document, dict) else "[]"
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def depth(document: Any) -> int:
    """Return how deep a document nests, without recursion."""
    deepest, waiting = 0, [(document, 1)]
    while waiting:
        value, level = waiting.pop()
        deepest = max(deepest, level)
        children = value.values() if isinstance(value, dict) else value
        if isinstance(value, dict | list):
            waiting.extend((child, level + 1) for child in children)
    return deepest
