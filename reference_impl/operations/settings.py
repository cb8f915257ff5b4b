"""Configuration: a TOML file, the environment and the command line, checked before anything starts.

What is given on the command line goes before a variable ALLUSE_<KEY>, that before the file, that
before the default. The keys, their types, defaults and meaning are those of `config.Settings`, and
the reference is made of it. A secret is never a setting: it lies in a file or a variable that a
setting or an option names.
"""

import ast
import difflib
import functools
import inspect
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from reference_impl import tls
from reference_impl.config import ENVIRONMENT_PREFIX, Settings, StartRefusedError

CONFIG = "ALLUSE_CONFIG"
"""Names the file, where the command line does not."""
MOST = 2**63 - 1
YEAR_S = 365 * 86_400
BOUNDS: Mapping[str, tuple[float, float]] = {
    "port": (0, 65_535),
    "workers": (1, 64),
    "threads": (1, 512),
    "queue_size": (1, 100_000),
    "write_wait_s": (0.1, 60),
    "password_wait_s": (0.1, 60),
    "rate_requests": (1, 1_000_000_000),
    "rate_window_s": (1, 86_400),
    "call_timeout_ms": (10, 60_000),
    "call_retries": (0, 10),
    "breaker_failures": (1, 1_000),
    "breaker_window_s": (1, 3_600),
    "breaker_open_s": (1, 3_600),
    "breaker_trials": (1, 100),
    "login_requests": (1, 1_000_000_000),
    "login_window_s": (1, 86_400),
    "webhook_timeout_ms": (10, 600_000),
    "webhook_retry_ms": (1, 3_600_000),
    "webhook_retry_max_ms": (1, 86_400_000),
    "webhook_attempts": (1, 1_000),
    "webhook_give_up_s": (1, YEAR_S),
    "webhook_overlap_s": (0, YEAR_S),
    "disk_free_min": (0, MOST),
    "drain_s": (0, 20),
    "alert_scale": (1, 3600),
}
"""Least and most of every number."""
CHOICES: Mapping[str, tuple[str, ...]] = {"log_level": ("debug", "info", "warning", "error")}
FILES = ("certificate", "private_key", "webhook_ca")
"""Settings that name a file, which must be there."""
UNSET_IF_EMPTY = (*FILES, "backup_folder", "otlp_endpoint")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
COMBINED = ("webhook_timing", "config")
"""Variables of options that are several settings in one, or none."""
SECRET_WORDS = ("password", "secret", "token", "credential")
TRUTHS = {"true": True, "1": True, "yes": True, "on": True}
TRUTHS |= {"false": False, "0": False, "no": False, "off": False}
KINDS = {Path: "path", str: "text", int: "whole number", float: "number", bool: "true or false"}


class ConfigurationRefusedError(StartRefusedError):
    """What is wrong with a configuration: a line for each key."""


def kinds() -> dict[str, type]:
    """Return the type of each key."""
    return {field.name: field.type for field in fields(Settings)}  # type: ignore[misc]  # no strings: config.py evaluates its annotations


def gather(
    path: Path | None, environment: Mapping[str, str], given: Mapping[str, Any]
) -> tuple[Settings, list[str]]:
    """Return the settings, and where each key that is not a default came from (`key: origin`).

    Raises ConfigurationRefusedError with a line for everything that is wrong: the origin, the key,
    the value and the way out; StartRefusedError for a certificate and key that cannot serve.
    """
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    wrong: list[str] = []
    for origin, values in (
        *_of_file(path, wrong),
        *_of_environment(environment, wrong),
        ("the command line", given),
    ):
        for key, value in values.items():
            found[key], origins[key] = value, origin
    wrong += [
        f"{origins[key]}: {key}: {reason}"
        for key, value in found.items()
        if (reason := refusal(key, value))
    ]
    if "database" not in found:
        wrong.append("database: is not set; give --database PATH, ALLUSE_DATABASE or the file's")
    if not wrong:
        wrong += together(found)
    if wrong:
        raise ConfigurationRefusedError("\n".join(wrong))
    converted = {key: kinds()[key](value) for key, value in found.items()}
    converted["database"] = converted["database"].absolute()
    for key in (*FILES, "backup_folder"):
        if converted.get(key):
            converted[key] = str(Path(converted[key]).absolute())
    made = Settings(**converted)
    tls.check(made)
    return made, [f"{key}: {origins[key]}" for key in sorted(origins)]


def _of_file(path: Path | None, wrong: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    if path is None:
        return
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        wrong.append(f"{path}: {error.strerror}; name a file that can be read")
        return
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        wrong.append(f"{path}: is not TOML ({error}); `config reference` shows one")
        return
    known: dict[str, Any] = {}
    for key, value in document.items():
        if key in kinds():
            known[key] = value
        else:
            wrong.append(f"{path}: {unknown(key)}")
    yield str(path), known


def _of_environment(
    environment: Mapping[str, str], wrong: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read ALLUSE_<KEY>; a name that is nearly one is refused, others are somebody else's."""
    for name, text in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        if key in kinds():
            yield name, {key: _read(kinds()[key], text)}
        elif key not in COMBINED and (near := difflib.get_close_matches(key, kinds(), 1, 0.85)):
            wrong.append(f"{name}: there is no such setting; did you mean {variable(near[0])}?")


def _read(kind: type, text: str) -> Any:
    """Return the value of a variable, or its text where it is none: `refusal` then says so."""
    if kind is bool:
        return TRUTHS.get(text.strip().lower(), text)
    if kind in {int, float}:
        try:
            return kind(text)
        except ValueError:
            return text
    return text


def variable(key: str) -> str:
    """Return the name of a key in the environment."""
    return f"{ENVIRONMENT_PREFIX}{key.upper()}"


def unknown(key: str) -> str:
    """Say that there is no such key, and what was meant."""
    if near := difflib.get_close_matches(key, kinds(), 1, 0.6):
        return f"{key}: there is no such key; did you mean {near[0]}?"
    if any(word in key.lower() for word in SECRET_WORDS):
        return f"{key}: there is no such key; a secret is never a setting, but named by one"
    return f"{key}: there is no such key; `config reference` lists them"


def refusal(key: str, value: Any) -> str | None:
    """Return what is wrong with a value and the way out, None if it may stand."""
    kind = kinds()[key]
    if not _is(kind, value):
        return f"{value!r} is no {KINDS[kind]}; {advice(key)}"
    if kind in {int, float}:
        least, most = bounds(key)
        inside = least <= value <= most
        return None if inside else f"{value} is out of range; {advice(key)}"
    if key in CHOICES and value not in CHOICES[key]:
        return f"{value!r} is none of them; {advice(key)}"
    return _text_refusal(key, str(value))


def _text_refusal(key: str, value: str) -> str | None:
    if any(ord(one) < 32 for one in value):
        return f"{value!r} has control characters; leave them out"
    if key in UNSET_IF_EMPTY and not value:
        return None
    if key in FILES and not Path(value).is_file():
        return f"{value}: there is no such file; name one that is there"
    look = LOOKS.get(key)
    return look(value) if look else None


def _is(kind: type, value: Any) -> bool:
    """Tell whether a value is of a kind: exactly, but a whole number is a number as well."""
    if kind in {str, Path}:
        return isinstance(value, (str, Path))
    return type(value) is kind or (kind is float and type(value) is int)


def _classes(value: str) -> str | None:
    from reference_impl.password_policy import COMPLEXITY

    names = [name.strip() for name in value.split(",") if name.strip()]
    wrong = [name for name in names if name not in COMPLEXITY]
    return f"{wrong[0]!r} is no class; choose from {', '.join(COMPLEXITY)}" if wrong else None


def _endpoint(value: str) -> str | None:
    from reference_impl import spans

    return spans.wrong(value)


def _host(value: str) -> str | None:
    from reference_impl.delivery import addresses

    if addresses.is_host(value):
        return None
    return f"{value!r} is no address; give one without a port, such as 127.0.0.1 or ::1"


def _allowed(value: str) -> str | None:
    from reference_impl.delivery import addresses

    names = [name.strip() for name in value.split(",") if name.strip()]
    wrong = [name for name in names if not addresses.is_allowance(name.lower())]
    if not wrong:
        return None
    return (
        f"{wrong[0]!r} is no host; give host, host:port or [IPv6 address]:port, without a scheme,"
        " a path or a wildcard"
    )


def _authorities(value: str) -> str | None:
    from reference_impl.delivery import sending

    try:
        sending.tls_context(Path(value))
    except OSError as error:  # ssl.SSLError is one
        return f"{value}: no certificate can be read ({error}); give a PEM file of authorities"
    return None


def _folder(value: str) -> str | None:
    place = Path(value).absolute()
    try:
        there = next(one for one in (place, *place.parents) if one.exists())
        usable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    except PermissionError:
        usable = False
    return None if usable else f"{value}: no folder that can be written; choose another"


LOOKS: Mapping[str, Callable[[str], str | None]] = {
    "backup_folder": _folder,
    "host": _host,
    "otlp_endpoint": _endpoint,
    "password_complexity": _classes,
    "webhook_allow": _allowed,
    "webhook_ca": _authorities,
}
"""What else is asked of a text: return what is wrong and the way out, None if it may stand."""


def bounds(key: str) -> tuple[float, float]:
    """Return the least and the most value of a number."""
    return BOUNDS[key]


def advice(key: str) -> str:
    """Say what a value may be."""
    if key in CHOICES:
        return f"choose {', '.join(CHOICES[key])}"
    kind = kinds()[key]
    if kind in {int, float}:
        least, most = bounds(key)
        return f"choose a {KINDS[kind]} from {least} to {most}"
    return f"give {'a ' if kind is not bool else ''}{KINDS[kind]}"


def together(found: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with keys that are right each for itself."""
    wrong = []
    host = found.get("host", LOOPBACK[0])
    if host not in LOOPBACK and not found.get("certificate") and not found.get("allow_plain_http"):
        wrong.append(
            f"host: {host}: plain HTTP is served on loopback only; give certificate and"
            " private_key (--certificate, --key), or put TLS in front of it and set"
            " allow_plain_http (--allow-plain-http)"
        )
    if bool(found.get("certificate")) != bool(found.get("private_key")):
        wrong.append("certificate, private_key: they come together; give both files")
    first, most = (_chosen(found, f"webhook_retry_{name}") for name in ("ms", "max_ms"))
    if first > most:
        wrong.append(
            f"webhook_retry_ms, webhook_retry_max_ms: {first} is above {most}, and no pause is"
            " longer than the latter; lower the first or raise the second"
        )
    if found.get("production"):
        if found.get("testability"):
            wrong.append(
                "testability: it lets anybody turn the clock and the book back, and production is"
                " on; switch one of them off"
            )
        if found.get("log_level") == "debug":
            wrong.append("log_level: debug has no place in production; choose info")
        if (scale := found.get("alert_scale", 1)) != 1:
            wrong.append(
                f"alert_scale: {scale} lets alerts come and go too early, and is for tests; leave"
                " it out"
            )
        if found.get("disk_free_min") == 0:
            wrong.append(
                "disk_free_min: with 0 readiness says yes until the disk is full; leave it out, or"
                " choose more"
            )
        if found.get("metrics") is False:
            wrong.append("metrics: without them alerts and dashboards see nothing; switch them on")
    return wrong


def _chosen(found: Mapping[str, Any], key: str) -> Any:
    [default] = [field.default for field in fields(Settings) if field.name == key]
    return found.get(key, default)


@functools.cache
def meanings() -> dict[str, str]:
    """Return what `config.Settings` says of each key: the text below it, or below the next one."""
    [made] = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(made, ast.ClassDef)  # noqa: S101 - it is one
    said: dict[str, str] = {}
    waiting: list[str] = []
    for node in made.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            waiting.append(node.target.id)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and waiting:
            text = " ".join(str(node.value.value).split())
            said |= dict.fromkeys(waiting, text)
            waiting = []
    return said


def reference() -> str:
    """Return every key with its meaning, type, range, variable and default, as a TOML file."""
    parts = [
        "# Configuration of the reference account system; made by `config reference`.",
        "# The command line goes before the variable, the variable before this file.",
    ]
    for field in fields(Settings):
        kind = kinds()[field.name]
        allowed = advice(field.name) if field.name in CHOICES or kind in {int, float} else ""
        shown = allowed.removeprefix("choose ").removeprefix("a ") or KINDS[kind]
        default = "" if field.default is MISSING else _toml(field.default)
        line = f"{field.name} = {default}" if default else f'{field.name} = ""  # required'
        parts.append(
            f"\n# {meanings().get(field.name, '')}\n# {shown}; {variable(field.name)}\n# {line}"
        )
    return "\n".join(parts) + "\n"


def render(chosen: Settings) -> str:
    """Return settings as a TOML file that gives them again."""
    return "".join(
        f"{field.name} = {_toml(getattr(chosen, field.name))}\n" for field in fields(Settings)
    )


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return json.dumps(str(value))  # JSON's strings are TOML's basic strings
