"""The frozen types of a target: what the operator said about one deployment."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from certification.target.address import BaseUrl
from certification.target.secret import Secret


class Role(Enum):
    """The identities of a target file; the names are also the identity of an exchange."""

    ADMIN = "admin"
    CUSTOMER = "customer"
    CUSTOMER2 = "customer2"
    """Another customer, for questions about other owners' objects."""
    OPERATOR = "operator"
    MANAGER = "manager"
    AUDITOR = "auditor"
    SERVICE = "service"
    """A machine principal; optional."""


CREATED_ROLES = (Role.CUSTOMER, Role.CUSTOMER2, Role.OPERATOR, Role.MANAGER, Role.AUDITOR)
"""What the harness creates where an admin is given, and what must be given where none is."""

HOOKS = ("start", "stop", "backup", "restore", "deploy", "rollback", "scale")
"""Commands that the operator may lend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user name and where its password comes from."""

    role: Role
    username: str
    password: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Trust and identity of the connection; all paths absolute."""

    ca: Path | None = None
    """A private authority; given, it is the only one trusted."""
    client_certificate: Path | None = None
    client_key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What the operator allows and lends; nothing by default."""

    load: bool = False
    attack: bool = False
    fault: bool = False
    configuration: bool = False
    """Growth policies may be changed for a moment; they are put back."""
    source: Path | None = None
    """The deployment's source tree."""
    documents: Path | None = None
    metrics: str | None = None
    """URL, or a path below the base URL."""
    logs: Path | None = None
    traces: str | None = None
    alerts: str | None = None
    dashboards: Path | None = None
    hooks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Argument lists by name, see `HOOKS`; started without a shell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds the traffic."""

    allow_hosts: tuple[str, ...]
    requests_per_second: float | None = None
    requests_max: int | None = None
    timeout_s: float = 10.0
    body_max_bytes: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterpartiesAt:
    """Where `certify counterparties` is controlled; the deployment was pointed at it."""

    control: BaseUrl
    token: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One deployment: base URL, identities, grants and limits."""

    name: str
    base_url: BaseUrl
    identities: dict[Role, Identity]
    limits: Limits
    tls: Tls = Tls()
    proxy: BaseUrl | None = None
    grants: Grants = Grants()
    counterparties: CounterpartiesAt | None = None
    """None: those of the deployment are real, or it has none."""


def local_target(base_url: BaseUrl, *, username: str, password: Secret) -> Target:
    """Describe a deployment that the harness started itself: an admin, and every grant."""
    admin = Identity(role=Role.ADMIN, username=username, password=password)
    return Target(
        name="embedded default",
        base_url=base_url,
        identities={Role.ADMIN: admin},
        limits=Limits(allow_hosts=(base_url.host,)),
        grants=Grants(load=True, attack=True, fault=True, configuration=True),
    )
