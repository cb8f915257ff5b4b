"""The counterparties beside a run: held for an embedded target, or found as its file says."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from certification.counterparties.hosting import Host, Hosting, callback_secret, party_token
from certification.counterparties.names import Party
from certification.errors import HarnessError, UsageError
from certification.model import Module, PlannedCheck

if TYPE_CHECKING:
    from certification.counterparties.parties import Counterparties
    from certification.target.model import CounterpartiesAt

CONTROL_VARIABLE = "CERTIFICATION_COUNTERPARTIES"
TOKEN_VARIABLE = "CERTIFICATION_COUNTERPARTIES_TOKEN"  # noqa: S105  the name of a variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Where the counterparties of a run are."""

    control_url: str
    token: str = field(repr=False)
    host: Host | None = field(default=None, repr=False)
    """What holds their ports, if this run does."""

    def serve(self, base_url: str, *, ca: Path | None = None) -> None:
        """Open their ports if this run holds them, and say where callbacks go."""
        if self.host is not None:
            self.host.serve()
        with contextlib.closing(self.parties()) as parties:
            parties.point_at(base_url, ca=ca)

    def parties(self) -> Counterparties:
        """Return a handle on the five; `HarnessError` where they are not served."""
        from certification.counterparties.parties import Counterparties

        return Counterparties.attach(self.control_url, self.token)

    def environment(self) -> dict[str, str]:
        """Return what a check process needs for `from_environment`."""
        return {CONTROL_VARIABLE: self.control_url, TOKEN_VARIABLE: self.token}

    def told(self, prefix: str) -> dict[str, str]:
        """Return the settings of a target that reads `<prefix><NAME>_URL`, `_TOKEN`, `_SECRET`."""
        if self.host is None:
            return {}
        rows = {f"{prefix}{party.variable}_URL": self.host.url(party) for party in Party}
        rows |= {f"{prefix}{p.variable}_TOKEN": party_token(self.token, p) for p in Party}
        return rows | {f"{prefix}MARKET_SECRET": callback_secret(self.token)}


@contextlib.contextmanager
def held() -> Iterator[Beside]:
    """Take free ports for the time of the context; nothing is served before `serve`."""
    host = Host(Hosting(token=secrets.token_urlsafe(32)))
    try:
        yield Beside(control_url=host.control_url, token=host.hosting.token, host=host)
    finally:
        host.stop()


def found(given: CounterpartiesAt) -> Beside:
    """Find what `certify counterparties` serves; `UsageError` where the target file is wrong."""
    beside = Beside(control_url=given.control.text, token=given.token.reveal())
    try:
        beside.parties().close()
    except HarnessError as error:
        raise UsageError(
            f"counterparties.control: {error.message}",
            hint="start `certify counterparties`, and give its control URL and token",
        ) from error
    return beside


def wanted(plan: Sequence[PlannedCheck]) -> bool:
    """Whether a check that is going to run needs counterparties."""
    running = (row for row in plan if row.fixed_outcome is None)
    return any(Module.INTEGRATION in row.modules for row in running)


def from_environment(environment: Mapping[str, str]) -> Counterparties | None:
    """Return the counterparties of the run that started this process; None where it has none."""
    from certification.counterparties.parties import Counterparties

    url, token = environment.get(CONTROL_VARIABLE), environment.get(TOKEN_VARIABLE)
    return Counterparties.attach(url, token) if url and token else None
