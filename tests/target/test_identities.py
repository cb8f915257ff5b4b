"""Identities: given, created by an admin, the same in every process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification.errors import UsageError
from certification.target.address import parse_base_url
from certification.target.identities import (
    RunSecret,
    attach_identities,
    prepare_identities,
)
from certification.target.model import Identity, Limits, Role, Target
from certification.target.secret import Secret
from tests.target.deployment import Deployment
from tests.target.servers import serving

if TYPE_CHECKING:
    from certification.model import Exchange
    from tests.target.conftest import MakeAccess

RUN = RunSecret(prefix="c-run7", value=Secret.generated("a-run-secret"))
FIVE = {"customer", "customer2", "operator", "manager", "auditor"}


def target(**users: str) -> Target:
    url = parse_base_url("http://127.0.0.1:1")
    identities = {
        Role(role): Identity(
            role=Role(role), username=name, password=Secret.generated(f"{name}-password")
        )
        for role, name in users.items()
    }
    limits = Limits(allow_hosts=("127.0.0.1",))
    return Target(name="t", base_url=url, identities=identities, limits=limits)


def test_admin_creates_the_five(access_to: MakeAccess, recorded: list[Exchange]) -> None:
    deployment = Deployment()
    with serving(deployment) as server:
        access = access_to(server.url)
        identities = prepare_identities(access, target(admin="root"), RUN)
        assert set(identities.sessions) == FIVE | {"admin", "anonymous"}
        assert set(identities.roles()) == FIVE | {"admin"}
        assert set(identities.created) == FIVE
        assert set(identities.missing) == {"service"}
        created = [body for method, path, body in deployment.log if path == "/v1/users"]
        assert [(body["username"], body["roles"]) for body in created] == [
            ("c-run7-customer", ["customer"]),
            ("c-run7-customer2", ["customer"]),
            ("c-run7-operator", ["operator"]),
            ("c-run7-manager", ["manager"]),
            ("c-run7-auditor", ["auditor"]),
        ]
        assert len({body["password"] for body in created}) == 5
        assert not any(body["password"] in repr(recorded) for body in created)

        # Another process knows the run's prefix and secret only, and needs no message from us.
        worker = attach_identities(access, target(admin="root"), RUN, roles=identities.roles())
        assert set(worker) == set(identities.sessions)
        assert worker["auditor"].user_id == "usr-c-run7-auditor"


def test_given_identities_create_nothing(access_to: MakeAccess) -> None:
    names = {role: f"my-{role}" for role in FIVE}
    deployment = Deployment(users={name: f"{name}-password" for name in names.values()})
    with serving(deployment) as server:
        identities = prepare_identities(access_to(server.url), target(**names), RUN)
    assert set(identities.roles()) == FIVE
    assert identities.created == {}
    assert set(identities.missing) == {"service", "admin"}
    assert deployment.count("POST /v1/users") == 0


def test_wrong_password_is_the_operators_to_mend(access_to: MakeAccess) -> None:
    deployment = Deployment(users={"root": "another"})
    with (
        serving(deployment) as server,
        pytest.raises(UsageError, match=r"identities.admin: .* root") as caught,
    ):
        prepare_identities(access_to(server.url), target(admin="root"), RUN)
    assert "root-password" not in caught.value.message


def test_role_that_cannot_be_created_is_reported(access_to: MakeAccess) -> None:
    deployment = Deployment(refuse_roles=frozenset({"auditor"}))
    with serving(deployment) as server:
        identities = prepare_identities(access_to(server.url), target(admin="root"), RUN)
    assert "auditor" not in identities.sessions
    assert identities.missing["auditor"] == "createUser answered 403 (role_escalation)"


def test_passwords_suit_strict_rules_and_long_minimums() -> None:
    password = RUN.password(Role.CUSTOMER).reveal()
    assert len(password) == 44
    assert any(c.islower() for c in password)
    assert any(c.isupper() for c in password)
    assert any(c.isdigit() for c in password)
    assert not password.isalnum()
    assert password != RUN.password(Role.CUSTOMER2).reveal()
    long = RunSecret(prefix="c-run7", value=RUN.value, password_chars_min=128)
    assert len(long.password(Role.CUSTOMER).reveal()) == 128
    other = RunSecret(prefix="c-run7", value=Secret.generated("another"))
    assert other.password(Role.CUSTOMER).reveal() != password
