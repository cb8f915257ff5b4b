"""What requests for growth may look like, and what crosses their members."""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from reference_impl.problems import bad_parameter, invalid
from reference_impl.requests import (
    AccountType,
    Body,
    Id,
    Line1,
    Metadata,
    Money,
    Text,
    check_metadata,
)

from .policy import LegPoints, Position

PERIOD = re.compile(r"[0-9]{4}-Q[1-4]")
Mode = Literal["policy", "explicit"]


class OpenSystem(Body):
    """POST /v1/systems."""

    name: Line1
    amount: Money
    owner_id: Id | UnsetType = UNSET
    metadata: Metadata = msgspec.field(default_factory=dict)


class ForkLegInput(Body):
    """A share of an explicit fork."""

    type: AccountType
    bps: LegPoints


class Fork(Body):
    """POST /v1/accounts/{id}/fork."""

    mode: Mode = "policy"
    amount: Money | UnsetType = UNSET
    legs: Annotated[list[ForkLegInput], Meta(min_length=1, max_length=10)] | UnsetType = UNSET
    override: bool = False
    reason: Text | UnsetType = UNSET
    dry_run: bool = False


class CreateTarget(Body):
    """The new target of a merge."""

    type: Literal["compounding"]
    name: Line1 | UnsetType = UNSET


class Merge(Body):
    """POST /v1/merges."""

    sources: Annotated[list[Id], Meta(min_length=1, max_length=100)]
    mode: Mode = "explicit"
    target_id: Id | UnsetType = UNSET
    create_target: CreateTarget | UnsetType = UNSET
    partial: bool = False
    override: bool = False
    reason: Text | UnsetType = UNSET


class ReinvestLegInput(Body):
    """A share of a reinvestment."""

    bucket: Position
    bps: LegPoints


class Reinvest(Body):
    """POST /v1/accounts/{id}/reinvest."""

    period: Annotated[str, Meta(pattern=r"^[0-9]{4}-Q[1-4]\Z")]
    amount: Money | UnsetType = UNSET
    all_available: bool | UnsetType = UNSET
    legs: Annotated[list[ReinvestLegInput], Meta(min_length=1, max_length=3)] | UnsetType = UNSET
    reason: Text | UnsetType = UNSET
    dry_run: bool = False


def check_system(body: OpenSystem) -> None:
    """Refuse metadata beyond its bounds."""
    check_metadata(body.metadata, "")


def check_fork(body: Fork) -> None:
    """Refuse a fork that names members of the other mode, or not those of its own."""
    explicit = body.mode == "explicit"
    for name in ("amount", "legs"):
        given = getattr(body, name) is not UNSET
        if explicit and not given:
            raise invalid(f"/{name}", "missing", f"An explicit fork needs {name}")
        if given and not explicit:
            raise invalid(f"/{name}", "unknown_member", f"A fork by the policy has no {name}")
    if body.override and not explicit:
        raise invalid("/override", "unknown_member", "A fork by the policy has no override")


def check_merge(body: Merge) -> None:
    """Refuse a merge with two targets or none, or of a part of the sources."""
    if (body.target_id is UNSET) == (body.create_target is UNSET):
        raise invalid("/target_id", "one_of", "Send either target_id or create_target")
    if body.partial:
        raise invalid("/partial", "const", "All sources merge or none")


def check_reinvest(body: Reinvest) -> None:
    """Refuse a reinvestment with two amounts or none."""
    if (body.amount is UNSET) == (body.all_available is UNSET):
        raise invalid("/amount", "one_of", "Send either amount or all_available")
    if body.all_available is False:
        raise invalid("/all_available", "const", "all_available is true or absent")


def period(name: str, value: str) -> str:
    """Read a period from the query."""
    if not PERIOD.fullmatch(value):
        raise bad_parameter(name, "a quarter as 2026-Q4")
    return value
