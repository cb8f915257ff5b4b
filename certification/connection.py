"""Opens a target for a run: launches the local default, reads the capability document, logs in."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from certification.cleanup import Created, tidy_up
from certification.contract import Contract, load_contract
from certification.counterparties.beside import Beside, found, held
from certification.model import CheckId, Json, LeftBehind, TargetIdentity
from certification.runfile import RunFile
from certification.spool import (
    STOP_FILE,
    Merged,
    Spool,
    SpoolSink,
    append_created,
    merge,
    read_created,
)
from certification.target.address import BaseUrl
from certification.target.capability import read_capability, read_lag_s, wait_until_ready
from certification.target.client import Client, Surroundings
from certification.target.file import client_settings, load_target
from certification.target.identities import (
    Identities,
    RunSecret,
    attach_identities,
    prepare_identities,
)
from certification.target.launcher import (
    ADMIN_USERNAME,
    COUNTERPARTY_PREFIX,
    PASSWORD_VARIABLE,
    Command,
    launch,
    reference_command,
)
from certification.target.limits import Limiter, wait
from certification.target.model import CREATED_ROLES, Limits, Role, Target, Tls, local_target
from certification.target.secret import Secret
from certification.target.session import Access, Session
from certification.target.tokens import LoginRefused

RUNNER = CheckId("runner")
"""Stands in the place of a check id in exchanges that the runner itself sends."""
RUN_SECRET = "CERTIFICATION_RUN_SECRET"  # noqa: S105  the name of a variable
PASSWORD_CHARS_MAX = 512
"""A deployment that asks for longer passwords gets none from us."""
IDENTITY_READS = 4
"""How often the capability document is read, to meet the instances behind one address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A target that is ready to be observed."""

    run_id: str
    prefix: str
    seed: int
    work: Path
    """Folder for what the processes of the run share; removed at its end."""
    target_file: Path
    target: Target
    access: Access
    identity: TargetIdentity
    builds: tuple[str, ...]
    """Every build that answered; more than one cannot be certified."""
    capabilities: Json
    prepared: Identities
    environment: Mapping[str, str]
    """What check processes need besides our own environment."""
    disposable: bool
    """The database is temporary: nothing is left behind that would need closing."""
    requests_max: int | None
    """Of the whole run."""
    counterparties: Beside | None
    """Where the simulated ones are; None where the target has none of ours."""

    @property
    def stop_file(self) -> Path:
        """Its presence ends the run; see `spool.STOP_FILE`."""
        return self.work / STOP_FILE

    @property
    def identities(self) -> frozenset[str]:
        """Roles with a session."""
        return frozenset(self.prepared.roles())

    @property
    def missing(self) -> Mapping[str, str]:
        """Roles without a session, and why."""
        return self.prepared.missing

    @property
    def objects(self) -> tuple[tuple[str, str, str], ...]:
        """(kind, id, owner's role) of everything that the checks created so far."""
        return read_created(self.work)

    @property
    def grants(self) -> frozenset[str]:
        """Names of what the operator granted."""
        granted = self.target.grants
        names = (
            "load",
            "attack",
            "fault",
            "configuration",
            "source",
            "documents",
            "metrics",
            "logs",
            "traces",
        )
        given = {name for name in (*names, "alerts", "dashboards") if getattr(granted, name)}
        return frozenset(given | {f"hook:{name}" for name in granted.hooks})

    def read_again(self) -> tuple[TargetIdentity, tuple[str, ...]]:
        """Read what the deployment says it is, and which builds answered."""
        return _identity(self.access, self.target)

    def own_records(self) -> Merged:
        """Return what the runner itself sent: reads, logins, created users, clean-up."""
        return merge(self.work / "spool-runner", [RUNNER])

    def requests(self) -> int:
        """Return how many requests all processes of the run sent so far."""
        return self.access.client.surroundings.limiter.sent

    def tidy(self) -> tuple[LeftBehind, ...]:
        """Close what the run created; return what stays behind."""
        if self.disposable:
            return ()
        arrive = partial(wait, read_lag_s(self.capabilities))
        return tidy_up(self._created(), self.prepared.sessions, let_writes_arrive=arrive)

    def all_left(self) -> tuple[LeftBehind, ...]:
        """Return everything that was created, where the target is gone and nothing can close."""
        if self.disposable:
            return ()
        rows = self._created()
        return tuple(
            LeftBehind(kind=row.kind, id=row.id, detail="the target was lost") for row in rows
        )

    def _created(self) -> tuple[Created, ...]:
        users = [
            Created(kind="user", id=user, owner=role)
            for role, user in self.prepared.created.items()
        ]
        made = (Created(kind=kind, id=name, owner=owner) for kind, name, owner in self.objects)
        return (*made, *users)


@dataclass(slots=True)
class Connection:
    """What one check process holds of the target."""

    contract: Contract
    sink: SpoolSink
    sessions: Mapping[str, Session]
    access: Access
    shared: Path

    def wait_until_ready(self, deadline_s: float) -> None:
        """Wait for readiness after a lost connection; raises `TargetLost`."""
        wait_until_ready(self.access, deadline_s=deadline_s)

    def stop(self, reason: str) -> None:
        """Tell every process of the run to start nothing more."""
        (self.shared / STOP_FILE).write_text(reason, encoding="utf-8")

    def stop_reason(self) -> str | None:
        """Return why the run is ending, None while it goes on."""
        file = self.shared / STOP_FILE
        return file.read_text(encoding="utf-8") if file.exists() else None

    def created(self, kind: str, object_id: str, owner: str) -> None:
        """Book an object for the sweep and the clean-up."""
        append_created(self.shared, kind, object_id, owner)

    def objects(self) -> Sequence[tuple[str, str, str]]:
        """Return (kind, id, owner's role) of everything the run created so far."""
        return read_created(self.shared)

    def close(self) -> None:
        """Close the connections and the spool."""
        self.access.client.close()
        self.sink.spool.close()


@contextmanager
def open_target(
    source: Path | Command | None,
    *,
    work: Path,
    seed: int,
    writes: bool = True,
    requests_max: int | None = None,
) -> Iterator[Opened]:
    """Open the deployment of a target file, or launch a local one for the time of the context.

    `source` is the path of a target file, or the command of a local target; None starts the
    embedded default.

    `work` is the run's folder. With `writes` false only reads and logins are sent, and no identity
    is created. `requests_max` bounds the run besides what the target file allows. Raises
    `UsageError`, `NotConforming`, `TargetLost` before anything is observed.
    """
    shared = work / "work"
    shared.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        opening = (
            _given(source, shared)
            if isinstance(source, Path)
            else _local(stack, source or reference_command(), shared)
        )
        opening = replace(opening, requests_max=_least(opening.requests_max, requests_max))
        opened = _open(opening, seed=seed, writes=writes)
        stack.callback(opened.access.client.close)
        yield opened


def connect_worker(run_file: RunFile, sink: SpoolSink) -> Connection:
    """Connect a check process to the target that the runner opened; sends nothing."""
    target = load_target(Path(run_file.target_file))
    shared = Path(run_file.shared)
    access = _access(target, shared, sink, requests_max=run_file.requests_max)
    run = RunSecret(
        prefix=run_file.prefix,
        value=Secret(source=f"env:{RUN_SECRET}"),
        password_chars_min=_password_chars_min(run_file.capabilities),
    )
    return Connection(
        contract=access.contract,
        sink=sink,
        sessions=attach_identities(access, target, run, roles=run_file.roles),
        access=access,
        shared=shared,
    )


def read_public(base_url: BaseUrl, *, ca: Path | None, work: Path) -> Json:
    """Return the capability document of a deployment for which there is no target file yet."""
    target = Target(
        name=base_url.authority,
        base_url=base_url,
        identities={},
        limits=Limits(allow_hosts=(base_url.host,)),
        tls=Tls(ca=ca),
    )
    sink = SpoolSink(Spool(work / "runner.jsonl"), RUNNER)
    access = _access(target, work, sink, requests_max=None)
    try:
        return read_capability(access, target_id=target.name).document
    finally:
        access.client.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    """What is known before the first request."""

    target: Target
    target_file: Path
    shared: Path
    environment: Mapping[str, str]
    disposable: bool
    requests_max: int | None
    counterparties: Beside | None


def _given(target_file: Path, shared: Path) -> _Opening:
    target = load_target(target_file)
    beside = found(target.counterparties) if target.counterparties is not None else None
    return _Opening(
        target=target,
        target_file=target_file.resolve(),
        shared=shared,
        environment=beside.environment() if beside is not None else {},
        disposable=False,
        requests_max=target.limits.requests_max,
        counterparties=beside,
    )


def _local(stack: ExitStack, command: Command, shared: Path) -> _Opening:
    """Launch a local target, and write the target file that the check processes read."""
    folder = shared / "local"
    folder.mkdir()
    beside = stack.enter_context(held())
    told = {**beside.told(COUNTERPARTY_PREFIX), **command.environment}
    local = stack.enter_context(launch(replace(command, environment=told), folder=folder))
    file = folder / "target.toml"
    file.write_text(local.target_toml(), encoding="utf-8")
    return _Opening(
        target=local_target(
            local.base_url,
            username=ADMIN_USERNAME,
            password=Secret.generated(local.environment[PASSWORD_VARIABLE]),
        ),
        target_file=file,
        shared=shared,
        environment={**local.environment, **beside.environment()},
        disposable=True,
        requests_max=None,
        counterparties=beside,
    )


def _least(one: int | None, other: int | None) -> int | None:
    bounds = [bound for bound in (one, other) if bound is not None]
    return min(bounds, default=None)


def _open(opening: _Opening, *, seed: int, writes: bool) -> Opened:
    target = opening.target
    folder = opening.shared / "spool-runner"
    folder.mkdir()
    sink = SpoolSink(Spool(folder / "runner.jsonl"), RUNNER)
    access = _access(target, opening.shared, sink, requests_max=opening.requests_max)
    read = read_capability(access, target_id=target.name)
    run = RunSecret(
        prefix=f"cert-{secrets.token_hex(4)}",
        value=Secret.generated(secrets.token_urlsafe(32)),
        password_chars_min=_password_chars_min(read.document),
    )
    prepared = (
        prepare_identities(access, target, run) if writes else _logged_in(access, target, run)
    )
    identity, builds = _identity(access, target)
    return Opened(
        run_id=secrets.token_hex(8),
        prefix=run.prefix,
        seed=seed,
        work=opening.shared,
        target_file=opening.target_file,
        target=target,
        access=access,
        identity=identity,
        builds=builds,
        capabilities=read.document,
        prepared=prepared,
        environment={**opening.environment, RUN_SECRET: run.value.reveal()},
        disposable=opening.disposable,
        requests_max=opening.requests_max,
        counterparties=opening.counterparties,
    )


def _access(target: Target, shared: Path, sink: SpoolSink, *, requests_max: int | None) -> Access:
    limiter = Limiter(
        shared / "requests",
        per_second=target.limits.requests_per_second,
        requests_max=requests_max,
    )
    client = Client(client_settings(target), Surroundings(limiter=limiter))
    return Access(client=client, contract=load_contract(), sink=sink)


def _logged_in(access: Access, target: Target, run: RunSecret) -> Identities:
    """Log in what the target file gives; what an admin could create counts as there."""
    given = [role.value for role in target.identities]
    sessions = attach_identities(access, target, run, roles=given)
    missing: dict[str, str] = {}
    for role in given:
        try:
            sessions[role].log_in()
        except LoginRefused as refused:
            missing[role] = refused.message
            del sessions[role]
    if Role.ADMIN.value in sessions:
        creatable = [role.value for role in CREATED_ROLES if role.value not in given]
        sessions |= attach_identities(access, target, run, roles=creatable)
    return Identities(sessions=sessions, created={}, missing=missing)


def _identity(access: Access, target: Target) -> tuple[TargetIdentity, tuple[str, ...]]:
    """Read the capability document a few times: several instances may answer, of one build."""
    reads = [read_capability(access, target_id=target.name).identity for _ in range(IDENTITY_READS)]
    builds = tuple(sorted({read.build for read in reads}))
    instances = tuple(sorted({name for read in reads for name in read.instances}))
    return replace(reads[0], build=", ".join(builds), instances=instances), builds


def _password_chars_min(capabilities: Json) -> int:
    try:
        declared = capabilities["auth"]["password"]["min_length"]
    except (KeyError, TypeError):
        return 0
    return declared if isinstance(declared, int) and 0 < declared <= PASSWORD_CHARS_MAX else 0
