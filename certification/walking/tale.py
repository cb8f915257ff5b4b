"""What one example of a walk did: its steps in words, its requests, what was wrong at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from certification.model import Finding
    from certification.target.reply import Reply


@dataclass(slots=True, kw_only=True)
class Sent:
    """One request and its answer."""

    role: str
    method: str
    path: str
    """Below the base URL, with the ids of the run, query included."""
    body: Any
    """None where the request has none."""
    has_key: bool
    """Whether it carries an Idempotency-Key."""
    repeats: int | None
    """Number of the request that it repeats under the same key."""
    if_match_of: int | None
    """Number of the request whose ETag it carries."""
    token: str | None = None
    """The access token it carries, where an answer of the example gave it; else the role's."""
    reply: Reply | None = None
    """None where the answer was not one of the contract."""
    expected: tuple[int, ...] = ()
    """The statuses that were right; empty where any declared one was."""


@dataclass(slots=True, kw_only=True)
class Tale:
    """One example, as it goes on."""

    steps: list[str] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    made: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What was made up and must be another in each run: text -> (name, bash that makes it)."""
    proof: tuple[str, Any] | None = None
    """(JSON pointer, expected value) into the last answer, where that is what was wrong."""

    def number_of(self, reply: Reply) -> int:
        """Return which request an answer belongs to."""
        return next(n for n, sent in enumerate(self.sent) if sent.reply is reply)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The smallest example that went wrong so far."""

    tale: Tale
    finding: Finding

    @property
    def size(self) -> tuple[int, int]:
        """Steps, then requests: fewer are better."""
        return len(self.tale.steps), len(self.tale.sent)


def at(body: Any, pointer: str) -> Any:
    """Return the member that a JSON pointer names; None where there is none."""
    value = body
    for part in pointer.split("/")[1:]:
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value


def labelled(steps: list[str], names: Mapping[str, str]) -> str:
    """Return the steps as one text, with short names in the place of ids."""
    text = "; ".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    for id_, name in names.items():
        text = text.replace(id_, name)
    return text
