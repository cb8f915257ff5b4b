"""Reads `target.toml` into a `Target`; every mistake is named with its line."""

import ssl
from fractions import Fraction
from pathlib import Path

from certification.errors import UsageError
from certification.target.address import (
    AddressError,
    BaseUrl,
    host_allowed,
    parse_base_url,
    split_absolute,
)
from certification.target.client import BODY_MAX_BYTES, DEADLINE_S, ClientSettings
from certification.target.model import (
    CREATED_ROLES,
    HOOKS,
    CounterpartiesAt,
    Grants,
    Identity,
    Limits,
    Role,
    Target,
    Tls,
)
from certification.target.secret import Secret, named_secret
from certification.toml_source import Section, load_toml

NUMBER_MAX = Fraction(10**9)
"""No limit of ours is near it; it keeps a slip of the keyboard out of the arithmetic."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def load_target(path: Path) -> Target:
    """Read a target file.

    `UsageError` for an unreadable file, an unknown key (with its line), a literal secret (not
    echoed), a missing variable or file, a wrong URL, a base URL outside `limits.allow_hosts`, or
    identities that are neither an admin nor the five.
    """
    root = load_toml(path).root()
    folder = path.parent.absolute()
    target = root.section("target")
    name = target.text("name", "")
    base_url = _url(target, "base_url")
    target.done()
    result = Target(
        name=name or base_url.authority,
        base_url=base_url,
        identities=_identities(root.section("identities"), folder),
        tls=_tls(root.section("tls"), folder),
        proxy=_proxy(root),
        grants=_grants(root.section("grants"), folder),
        limits=_limits(root.section("limits"), base_url),
        counterparties=_counterparties(root.section("counterparties"), folder),
    )
    root.done()
    for key in ("metrics", "traces", "alerts"):
        _check_granted_host(root, key, result)
    return result


def client_settings(target: Target) -> ClientSettings:
    """Return what the client needs; `UsageError` where certificate or key cannot be used."""
    return ClientSettings(
        base_url=target.base_url,
        allow_hosts=target.limits.allow_hosts,
        deadline_s=target.limits.timeout_s,
        body_max_bytes=target.limits.body_max_bytes,
        tls=_tls_context(target.tls),
        proxy=target.proxy,
    )


def _url(section: Section, key: str) -> BaseUrl:
    value = section.text(key)
    try:
        return parse_base_url(value)
    except AddressError as error:
        # The value is not repeated: it may carry a password.
        raise section.error(
            key,
            f"is not a usable URL: {error}",
            hint=f'write {key} = "https://host:8443"',
        ) from None


def _identities(section: Section, folder: Path) -> dict[Role, Identity]:
    found = {role: _identity(section, role, folder) for role in Role if section.has(role.value)}
    section.done()
    missing = [role.value for role in CREATED_ROLES if role not in found]
    if Role.ADMIN not in found and missing:
        raise section.error(
            None,
            f"there is neither an admin nor all of the five; missing: {', '.join(missing)}",
            hint='add [identities.admin] with username = "..." and password = "env:NAME"; '
            "the harness then creates the others",
        )
    return found


def _identity(section: Section, role: Role, folder: Path) -> Identity:
    try:
        entry = section.section(role.value)
    except UsageError:
        # The usual message shows the value, which may be the password.
        problem = "is not a table with username and password"
        raise section.error(role.value, problem, hint=f"write [identities.{role.value}]") from None
    username = entry.text("username")
    if not username:
        raise entry.error("username", "is empty")
    password = _secret(entry, "password", folder)
    entry.done()
    return Identity(role=role, username=username, password=password)


def _secret(section: Section, key: str, folder: Path) -> Secret:
    fix = f'write {key} = "env:NAME" or {key} = "file:PATH"'
    if not section.has(key):
        raise section.error(key, "is missing", hint=fix)
    try:
        secret = named_secret(section.text(key), folder=folder)
    except UsageError:
        secret = None
    if secret is None:
        raise section.error(
            key,
            "holds a literal secret (not shown here)",
            hint=f"{fix}, and change the secret: it has been in a file",
        ) from None
    try:
        secret.reveal()
    except UsageError as error:
        raise section.error(key, error.message, hint=error.hint or fix) from None
    return secret


def _existing(section: Section, key: str, folder: Path) -> Path | None:
    if not section.has(key):
        return None
    path = folder / Path(section.text(key)).expanduser()
    if not path.exists():
        raise section.error(key, f"{path} does not exist", hint="give an existing path")
    return path


def _tls(section: Section, folder: Path) -> Tls:
    tls = Tls(
        ca=_existing(section, "ca", folder),
        client_certificate=_existing(section, "client_certificate", folder),
        client_key=_existing(section, "client_key", folder),
    )
    section.done()
    if tls.client_key is not None and tls.client_certificate is None:
        raise section.error("client_key", "stands alone", hint="give client_certificate too")
    return tls


def _proxy(root: Section) -> BaseUrl | None:
    if not root.has("proxy"):
        return None
    proxy = _url(root, "proxy")
    if proxy.scheme != "http" or proxy.prefix:
        fix = "give a proxy that is reached over plain http, as http://host:port"
        raise root.error("proxy", "is not http://host:port", hint=fix)
    return proxy


def _counterparties(section: Section, folder: Path) -> CounterpartiesAt | None:
    if not section.keys():
        return None
    control = _url(section, "control")
    if control.host not in LOOPBACK or control.scheme != "http" or control.prefix:
        # Its token opens every counterparty, and it listens on the loopback alone.
        fix = "start `certify counterparties` where the run starts, and copy its control URL"
        raise section.error("control", "is not http on the loopback", hint=fix)
    token = _secret(section, "token", folder)
    section.done()
    return CounterpartiesAt(control=control, token=token)


def _place(section: Section, key: str) -> str | None:
    if not section.has(key):
        return None
    value = section.text(key)
    if value.startswith("/"):
        return value
    try:
        split_absolute(value)
    except AddressError as error:
        fix = f'write {key} = "/path" or {key} = "https://host/path"'
        raise section.error(key, f"is not a usable URL: {error}", hint=fix) from None
    return value


def _grants(section: Section, folder: Path) -> Grants:
    hooks = section.section("hooks")
    commands = {name: hooks.texts(name) for name in HOOKS if hooks.has(name)}
    hooks.done()
    for name, command in commands.items():
        if not command or not command[0]:
            fix = f'write {name} = ["/path/to/program", "argument"]'
            raise hooks.error(name, "is an empty command", hint=fix)
    grants = Grants(
        load=section.flag("load", default=False),
        attack=section.flag("attack", default=False),
        fault=section.flag("fault", default=False),
        configuration=section.flag("configuration", default=False),
        source=_existing(section, "source", folder),
        documents=_existing(section, "documents", folder),
        metrics=_place(section, "metrics"),
        logs=_existing(section, "logs", folder),
        traces=_place(section, "traces"),
        alerts=_place(section, "alerts"),
        dashboards=_existing(section, "dashboards", folder),
        hooks=commands,
    )
    section.done()
    return grants


def _limits(section: Section, base_url: BaseUrl) -> Limits:
    allowed = section.texts("allow_hosts", (base_url.host,))
    for entry in allowed:
        fix = 'write host or host:port, e.g. "staging.example.org:8443"'
        try:
            bare = parse_base_url(f"http://{entry}")
        except AddressError as error:
            raise section.error("allow_hosts", f"{entry!r}: {error}", hint=fix) from None
        if bare.prefix or "/" in entry:
            raise section.error("allow_hosts", f"{entry!r} is not a host", hint=fix)
    if not host_allowed(base_url, allowed):
        raise section.error(
            "allow_hosts",
            f"{base_url.host}, the host of target.base_url, is not in it",
            hint=f'add "{base_url.host}", or correct target.base_url',
        )
    per_second = _positive(section, "requests_per_second")
    requests_max = _positive_count(section, "requests_max")
    timeout_s = _positive(section, "timeout_s")
    body_max_bytes = _positive_count(section, "body_max_bytes")
    section.done()
    return Limits(
        allow_hosts=allowed,
        requests_per_second=per_second,
        requests_max=requests_max,
        timeout_s=timeout_s or DEADLINE_S,
        body_max_bytes=body_max_bytes or BODY_MAX_BYTES,
    )


def _positive(section: Section, key: str) -> float | None:
    if not section.has(key):
        return None
    value = section.number(key, most=NUMBER_MAX)
    if value == 0:
        raise section.error(
            key, "0 is not above 0", hint=f"write a positive {key}, or leave it out"
        )
    return float(value)


def _positive_count(section: Section, key: str) -> int | None:
    value = _positive(section, key)
    return None if value is None else section.integer(key)


def _check_granted_host(root: Section, key: str, target: Target) -> None:
    value = getattr(target.grants, key)
    if value is None or value.startswith("/"):
        return
    server, _ = split_absolute(value)
    if not host_allowed(server, target.limits.allow_hosts):
        raise root.section("grants").error(
            key,
            f"{server.host} is not in limits.allow_hosts",
            hint=f'add "{server.host}" to limits.allow_hosts',
        )


def _tls_context(tls: Tls) -> ssl.SSLContext | None:
    if tls == Tls():
        return None
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except OSError:
        raise UsageError(
            f"tls.ca: {tls.ca} holds no certificate in PEM form", hint="give the authority's PEM"
        ) from None
    if tls.client_certificate is not None:
        try:
            # Without this password OpenSSL would ask on the terminal for that of an encrypted key.
            context.load_cert_chain(tls.client_certificate, tls.client_key, password=lambda: "-")
        except OSError as error:
            raise UsageError(
                f"tls.client_certificate {tls.client_certificate} and its key cannot be used: "
                f"{getattr(error, 'reason', None) or error}",
                hint="give a PEM certificate and its unencrypted PEM key",
            ) from None
    return context
