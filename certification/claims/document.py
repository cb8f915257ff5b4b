"""The form in which a reported document is written down: tables of rows, and statements about them.

A file (TOML or JSON, format `certification-claims/1`) holds what a document *says* and where;
nothing in it says what is wrong. Numbers are texts: `0.940` and `0.94` claim different precision.

    format = "certification-claims/1"
    name = "final report"        # short name, used in messages
    title = "..."
    stage = 6                    # order in time: a larger one describes a later state

    [[tables]]
    id = "recovery"
    section = "Reliability Assessment"
    rows = [{ label = "Database", quantity = "recovery/database", value = "3.2", unit = "s",
              op = "<=", target = "5" }]

    [[statements]]
    kind = "mean"                # see StatementKind
    section = "Test Results"
    tables = ["recovery"]
    value = "2.1"
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING

from certification.errors import UsageError
from certification.toml_source import SIZE_MAX_BYTES, Section, TomlSource, load_toml

if TYPE_CHECKING:
    from pathlib import Path

CLAIMS_FORMAT = "certification-claims/1"
NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,12})?")
OPS = ("<", "<=", ">", ">=")


class StatementKind(Enum):
    """What a document can state about its own rows; closed."""

    WEIGHTED_TOTAL = "weighted_total"
    """`value` is the sum of weight x value over `table`."""
    ALL_MET = "all_met"
    """Every row of `tables` meets its target, or the share `value` of them does."""
    MEAN = "mean"
    """`value` is the mean of `table`."""
    COMPLETE = "complete"
    """Everything that `quantities` (percentages) measure is fully there."""
    IMPROVED = "improved"
    """The state is better than at an earlier stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """A number as it was printed."""

    text: str
    value: Fraction
    half: Fraction
    """Half a unit of the last printed place: how far rounding may have moved it."""

    def agrees(self, exact: Fraction) -> bool:
        """Whether rounding `exact` could have printed this."""
        return abs(self.value - exact) <= self.half


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table."""

    label: str
    quantity: str
    """Name of what is measured, equal in every document; empty where nothing else measures it."""
    of: str
    """What the figure is said to be a share of, where the label does not say it."""
    unit: str
    value: Stated | None
    word: str
    """A value that is a word, e.g. `immediate`."""
    op: str
    target: Stated | None
    target_word: str
    weight: Stated | None
    before: Stated | None
    change: Stated | None
    """Percent: from `before` or `target` to `value`, or what a plan promises over the baseline."""
    better: str
    """`higher` or `lower`; empty where neither is."""

    @property
    def met(self) -> bool | None:
        """Whether the value meets the target; None where the row has no pair to compare."""
        if self.target_word:
            return self.word == self.target_word
        if self.value is None or self.target is None:
            return None
        return meets(self.value.value, self.op, self.target.value)

    @property
    def shown(self) -> str:
        """The value as printed."""
        return self.word or (f"{self.value.text} {self.unit}".strip() if self.value else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under one heading."""

    id: str
    section: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One sentence of the document, reduced to what can be computed again."""

    kind: StatementKind
    section: str
    tables: tuple[str, ...]
    quantities: tuple[str, ...]
    value: Stated | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A reported document; what it says, not what is true."""

    name: str
    title: str
    stage: int
    tables: tuple[Table, ...]
    statements: tuple[Statement, ...]

    def rows(self) -> tuple[tuple[Table, Row], ...]:
        """Every row with its table, in the document's order."""
        return tuple((table, row) for table in self.tables for row in table.rows)

    def table(self, name: str) -> Table:
        """Return the table; the loader made sure that it is there."""
        return next(table for table in self.tables if table.id == name)


def meets(value: Fraction, op: str, target: Fraction) -> bool:
    """Compare exactly."""
    match op:
        case "<":
            return value < target
        case "<=":
            return value <= target
        case ">":
            return value > target
        case _:
            return value >= target


def load_document(path: Path) -> Document:
    """Read a reported document; `UsageError` names file, line and key of what does not fit."""
    source = load_json(path) if path.suffix == ".json" else load_toml(path)
    return parse_document(source)


def parse_document(source: TomlSource) -> Document:
    """Turn the source into a document; same errors as `load_document`."""
    root = source.root()
    root.text("format", choices=[CLAIMS_FORMAT])
    name, title, stage = root.text("name"), root.text("title"), root.integer("stage")
    tables = tuple(_table(section) for section in root.sections("tables"))
    known = [table.id for table in tables]
    if len(set(known)) != len(known):
        raise root.error("tables", "two tables have the same id")
    statements = tuple(_statement(section, known) for section in root.sections("statements"))
    root.done()
    return Document(name=name, title=title, stage=stage, tables=tables, statements=statements)


def load_json(path: Path) -> TomlSource:
    """Read a JSON object as a source without lines; `UsageError` where it is none."""
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX_BYTES + 1)
        if len(data) > SIZE_MAX_BYTES:
            raise UsageError(f"{path}: larger than {SIZE_MAX_BYTES} bytes; not our file")
        document = json.loads(data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path}: no JSON object")
    return TomlSource(name=str(path), document=document)


def _table(section: Section) -> Table:
    table = Table(
        id=section.text("id"),
        section=section.text("section"),
        rows=tuple(_row(row) for row in section.sections("rows")),
    )
    section.done()
    if not table.rows:
        raise section.error("rows", "a table needs rows")
    return table


def _row(section: Section) -> Row:
    op = section.text("op", "", choices=("", *OPS))
    better = section.text("better", "", choices=("", "higher", "lower"))
    row = Row(
        label=section.text("label"),
        quantity=section.text("quantity", ""),
        of=section.text("of", ""),
        unit=section.text("unit", ""),
        value=_stated(section, "value"),
        word=section.text("word", ""),
        op=op,
        target=_stated(section, "target"),
        target_word=section.text("target_word", ""),
        weight=_stated(section, "weight"),
        before=_stated(section, "before"),
        change=_stated(section, "change"),
        better=better or {">": "higher", "<": "lower"}.get(op[:1], ""),
    )
    section.done()
    if row.target is not None and not op:
        raise section.error("target", "a target needs `op`", hint=f"op is one of {', '.join(OPS)}")
    return row


def _statement(section: Section, known: list[str]) -> Statement:
    kind = StatementKind(section.text("kind", choices=[kind.value for kind in StatementKind]))
    statement = Statement(
        kind=kind,
        section=section.text("section"),
        tables=section.texts("tables", (), choices=known),
        quantities=section.texts("quantities", ()),
        value=_stated(section, "value"),
    )
    section.done()
    _complain(section, statement)
    return statement


def _complain(section: Section, statement: Statement) -> None:
    match statement.kind:
        case StatementKind.WEIGHTED_TOTAL | StatementKind.MEAN:
            if len(statement.tables) != 1 or statement.value is None:
                raise section.error(None, f"{statement.kind.value} needs one table and a value")
        case StatementKind.ALL_MET:
            if not statement.tables:
                raise section.error(None, "all_met needs tables")
        case StatementKind.COMPLETE:
            if not statement.quantities:
                raise section.error(None, "complete needs quantities")
        case StatementKind.IMPROVED:
            return


def _stated(section: Section, key: str) -> Stated | None:
    if not section.has(key):
        return None
    text = section.text(key)
    if not NUMBER.fullmatch(text):
        raise section.error(key, f"{text!r} is not a number as text, such as '0.940'")
    places = len(text.partition(".")[2])
    return Stated(text=text, value=Fraction(text), half=Fraction(1, 2 * 10**places))
