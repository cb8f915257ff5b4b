"""Read TOML exactly, remembering the line of every key, so that mistakes are named by line."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from datetime import date, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from certification.errors import UsageError
from certification.toml_lines import KeyPath, key_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SIZE_MAX_BYTES = 1 << 20
"""No configuration of ours is near a megabyte; a larger file is another file."""

_FRACTION = re.compile(r"[+-]?\d{1,30}(\.\d{1,30}|/\d{1,30})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlSource:
    """One parsed document, its name for messages and the line of each key."""

    name: str
    document: Mapping[str, Any]
    """Tables as dicts; floats as exact `Fraction`."""
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def line_of(self, path: KeyPath) -> int | None:
        """Return the line of `path`, or of its nearest parent; None where the text is not known."""
        for length in range(len(path), 0, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return line
        return None

    def error(self, path: KeyPath, problem: str, *, hint: str | None = None) -> UsageError:
        """Build the error that names file, line, key and problem."""
        line = self.line_of(path)
        where = self.name if line is None else f"{self.name}:{line}"
        key = spell(path)
        return UsageError(f"{where}: {f'{key}: ' if key else ''}{problem}", hint=hint)

    def root(self) -> Section:
        """Return the whole document as a section to be read key by key."""
        return Section(self, (), self.document)


class Section:
    """One table, read key by key; `done` then refuses every key that nobody asked for.

    The allowed keys are exactly those that were asked for, so no list of names can fall behind the
    code that reads them. Every accessor raises UsageError naming file, line, key and what is
    allowed.
    """

    def __init__(self, source: TomlSource, path: KeyPath, table: Mapping[str, Any]) -> None:
        """Read `table`, which stands at `path` of `source`."""
        self._source = source
        self._path = path
        self._table = table
        self._asked: list[str] = []

    def error(self, key: str | None, problem: str, *, hint: str | None = None) -> UsageError:
        """Build the error for `key` of this section, or for the section itself."""
        path = self._path if key is None else (*self._path, key)
        return self._source.error(path, problem, hint=hint)

    def has(self, key: str) -> bool:
        """Whether `key` is given; asking makes it an allowed key."""
        if key not in self._asked:
            self._asked.append(key)
        return key in self._table

    def text(
        self, key: str, default: str | None = None, *, choices: Iterable[str] | None = None
    ) -> str:
        """Return a string; without a default the key must be there."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"{_show(value)} is not a text")
        allowed = None if choices is None else tuple(choices)
        if allowed is not None and value not in allowed:
            raise self.error(key, f"{value!r} is not one of {', '.join(allowed)}")
        return value

    def texts(
        self,
        key: str,
        default: tuple[str, ...] | None = None,
        *,
        choices: Iterable[str] | None = None,
    ) -> tuple[str, ...]:
        """Return a list of strings."""
        value = self._get(key, default)
        if not isinstance(value, list | tuple):
            raise self.error(key, f"{_show(value)} is not a list of texts")
        allowed = None if choices is None else tuple(choices)
        for index, item in enumerate(value):
            at = (*self._path, key, index)
            if not isinstance(item, str):
                raise self._source.error(at, f"{_show(item)} is not a text")
            if allowed is not None and item not in allowed:
                raise self._source.error(at, f"{item!r} is not one of {', '.join(allowed)}")
        return tuple(value)

    def number(
        self, key: str, default: Fraction | None = None, *, most: Fraction | None = None
    ) -> Fraction:
        """Return an exact number from 0 to `most`: integer, decimal or a text like `"19/20"`."""
        value = self._get(key, default)
        number = _exact(value)
        if number is None:
            raise self.error(key, f"{_show(value)} is not a number (0.95, 1 or a text '19/20')")
        if number < 0 or (most is not None and number > most):
            raise self.error(key, f"{_show(value)} is not between 0 and {most or 'above'}")
        return number

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a whole number of at least 0."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.error(key, f"{_show(value)} is not a whole number of at least 0")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"{_show(value)} is not true or false")
        return value

    def day(self, key: str) -> str:
        """Return a date as ISO text; TOML's own dates and texts are both read."""
        value = self._get(key, None)
        if isinstance(value, date) and not isinstance(value, datetime):
            return value.isoformat()
        try:
            return date.fromisoformat(value).isoformat()
        except (TypeError, ValueError) as error:
            raise self.error(key, f"{_show(value)} is not a date such as 2026-12-31") from error

    def section(self, key: str) -> Section:
        """Return the table `key`; an absent one is empty."""
        value = self._get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"{_show(value)} is not a table")
        return Section(self._source, (*self._path, key), value)

    def sections(self, key: str) -> tuple[Section, ...]:
        """Return the list of tables `key`; an absent one is empty."""
        value = self._get(key, [])
        if not isinstance(value, list):
            raise self.error(key, f"{_show(value)} is not a list of tables")
        found = []
        for index, item in enumerate(value):
            at = (*self._path, key, index)
            if not isinstance(item, dict):
                raise self._source.error(at, f"{_show(item)} is not a table")
            found.append(Section(self._source, at, item))
        return tuple(found)

    def keys(self) -> tuple[str, ...]:
        """Return the keys that are given, for tables whose keys are names."""
        return tuple(self._table)

    def done(self) -> None:
        """Refuse the first key that nobody asked for."""
        for key in self._table:
            if key not in self._asked:
                allowed = ", ".join(sorted(self._asked)) or "none"
                raise self.error(key, f"unknown key; the keys allowed here are: {allowed}")

    def _get(self, key: str, default: object) -> Any:
        if self.has(key):
            return self._table[key]
        if default is None:
            raise self.error(None, f"the key {key!r} is missing", hint=f"add `{key} = ...`")
        return default


def load_toml(path: Path) -> TomlSource:
    """Read one TOML file; floats become exact fractions.

    Raises UsageError naming the file where it is absent, too large, not UTF-8 or not TOML.
    """
    try:
        if path.is_file() and path.stat().st_size > SIZE_MAX_BYTES:
            raise UsageError(f"{path}: larger than {SIZE_MAX_BYTES} bytes; this is not our file")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}") from error
    return parse_toml(text, name=str(path))


def parse_toml(text: str, *, name: str) -> TomlSource:
    """Parse TOML text; `name` stands in every message."""
    try:
        document = tomllib.loads(text, parse_float=_toml_float)
    except RecursionError as error:
        raise UsageError(f"{name}: nested too deeply to be one of our files") from error
    except ValueError as error:
        raise UsageError(f"{name}: not TOML: {error}") from error
    return TomlSource(name=name, document=document, lines=key_lines(text))


def spell(path: KeyPath) -> str:
    """Write a key path as people do: `levels[0].gates[2].min`."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")


def _toml_float(text: str) -> Fraction:
    """Read a decimal exactly; an exponent is refused, because `1e999999999` is a gigabyte."""
    number = _exact(text.replace("_", ""))
    if number is None:
        raise ValueError(f"the number {text!r} is not a plain decimal such as 0.95")
    return number


def _exact(value: object) -> Fraction | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | Fraction):
        return Fraction(value)
    if isinstance(value, str) and _FRACTION.fullmatch(value):
        try:
            return Fraction(value)
        except ZeroDivisionError:
            return None
    return None


def _show(value: object) -> str:
    text = str(value) if isinstance(value, Fraction) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
