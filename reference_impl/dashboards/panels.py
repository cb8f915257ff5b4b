"""The parts of a dashboard: pages of panels, each with expressions or a read of the API."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from .expressions import Expression, Sum


class Unit(enum.Enum):
    """How values are written; the text is what the page's script knows."""

    SECONDS = "seconds"
    DURATION = "duration"
    BYTES = "bytes"
    RATIO = "ratio"
    PER_SECOND = "per_second"
    COUNT = "count"
    CORES = "cores"
    MINOR = "minor_units"
    MONEY = "money"
    """Minor units of the currency that names the series."""
    YES = "yes"
    """1 is yes, anything less is no."""


class Kind(enum.Enum):
    """How a panel looks."""

    LINE = "line"
    """Values over time."""
    FIGURE = "figure"
    """One value of now."""
    RANK = "rank"
    """Values of now, the largest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One expression and the name of its series."""

    show: Expression
    name: str = ""
    """Empty: the series are named by the labels that the expression keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Where a value stops being normal."""

    value: float
    below: bool = False
    """Whether the value must not fall below it, instead of rising above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A part of a page that shows metrics."""

    id: str
    title: str
    kind: Kind
    unit: Unit
    queries: tuple[Query, ...]
    about: str = ""
    """What it tells, and what to do about it, in a sentence."""
    limit: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table: where it is found in a row, and its heading."""

    path: str
    """Members from the row on, separated by dots."""
    title: str
    form: str = "text"
    """text, time, money, milliseconds, yes, or observed (a value of a health check)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A part of a page that shows what an operation of the API answers to the viewer."""

    id: str
    title: str
    read: str
    """Path and query, read with the rights of whoever looks."""
    rows: str
    """Member of the answer that holds the rows: a list, or an object of lists by name."""
    columns: tuple[Column, ...]
    empty: str
    """What it says where there is no row."""
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A dashboard."""

    id: str
    title: str
    about: str
    parts: tuple[Panel | Table, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """The parts that show metrics."""
        return tuple(part for part in self.parts if isinstance(part, Panel))

    @property
    def tables(self) -> tuple[Table, ...]:
        """The parts that show what the API answers."""
        return tuple(part for part in self.parts if isinstance(part, Table))

    def needs(self) -> Iterator[Sum]:
        """Yield the sums of all panels, some of them several times."""
        for panel in self.panels:
            for query in panel.queries:
                yield from query.show.needs()
