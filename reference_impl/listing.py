"""Lists: one way to read their parameters, to page by key and to hand out the next cursor."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request

from . import access, cursors, web
from .config import MAX_AMOUNT, PAGE_DEFAULT, PAGE_MAX
from .problems import bad_parameter

Parse = Callable[[str, str], Any]
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page that is asked for."""

    query: Mapping[str, Any]
    """Everything the cursor is bound to: operation, principal, filters, sort and limit."""
    after: Sequence[Any] | None
    """The key of the last item of the page before."""

    @property
    def limit(self) -> int:
        """How many items the page has at most."""
        return int(self.query["limit"])

    @property
    def descending(self) -> bool:
        """Whether the sort runs backwards."""
        return str(self.query["sort"]).startswith("-")

    @property
    def sort(self) -> str:
        """What is sorted by."""
        return str(self.query["sort"]).removeprefix("-")

    def filter(self, name: str) -> Any:
        """Return a filter's value, None if it is not set."""
        return self.query.get(name)


def identifier(name: str, value: str) -> str:
    """Read an id."""
    if not _ID.fullmatch(value):
        raise bad_parameter(name, "an id is 1 to 64 characters of A-Z a-z 0-9 _ and -")
    return value


def sequence_number(name: str, value: str) -> int:
    """Read a seq."""
    if not re.fullmatch(r"[0-9]{1,16}", value) or int(value) > MAX_AMOUNT:
        raise bad_parameter(name, f"a whole number from 0 to {MAX_AMOUNT}")
    return int(value)


def one_of(*values: str) -> Parse:
    """Return a parser that accepts a closed set."""

    def parse(name: str, value: str) -> str:
        if value not in values:
            raise bad_parameter(name, f"one of {', '.join(values)}")
        return value

    return parse


def limit_number(name: str, value: str) -> int:
    """Read a page size."""
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= PAGE_MAX:
        raise bad_parameter(name, f"a whole number from 1 to {PAGE_MAX}")
    return int(value)


def parameters(allowed: Mapping[str, Parse]) -> dict[str, Any]:
    """Read the query string: known names, each once, each of its form."""
    found: dict[str, Any] = {}
    for name, value in request.args.items(multi=True):
        if name not in allowed:
            raise bad_parameter(name, f"not a parameter here; there is {', '.join(allowed)}")
        if name in found:
            raise bad_parameter(name, "given twice")
        found[name] = allowed[name](name, value)
    return found


def page(
    operation: str, principal: str, sorts: Sequence[str], filters: Mapping[str, Parse]
) -> Page:
    """Read the page that is asked for; a cursor brings the whole query with it."""
    sort = one_of(*sorts, *(f"-{name}" for name in sorts))
    allowed = {"limit": limit_number, "cursor": _text, "sort": sort, **filters}
    given = parameters(allowed)
    cursor = given.pop("cursor", None)
    owner = {"operation": operation, "principal": principal}
    if cursor is None:
        query = {"limit": PAGE_DEFAULT, "sort": sorts[0], **given, **owner}
        return Page(query=query, after=None)
    stored, after = cursors.read(web.services().cursor_secret, cursor)
    cursors.check_same_query(stored, {**given, **owner})
    return Page(query=stored, after=after)


def _text(name: str, value: str) -> str:
    if not value:
        raise bad_parameter(name, "empty")
    return value


def keyset(asked: Page, columns: Sequence[str]) -> tuple[str, list[Any], str]:
    """Return the condition, its values and the ORDER BY that continue a page by its key."""
    direction = "DESC" if asked.descending else "ASC"
    order = ", ".join(f"{column} {direction}" for column in columns)
    if asked.after is None:
        return "1", [], order
    sign = "<" if asked.descending else ">"
    marks = ", ".join("?" * len(columns))
    return f"({', '.join(columns)}) {sign} ({marks})", list(asked.after), order


def confined(caller: access.Caller, owner: str, account: str) -> tuple[list[str], list[str]]:
    """Return the conditions, and their values, that keep a list to what the caller may see.

    `owner` and `account` are the columns with the owner and the account of a row.
    """
    conditions, values = [], []
    if not access.sees_all(caller):
        given = caller.objects
        more = f" OR {account} IN ({', '.join('?' * len(given))})" if given else ""
        conditions.append(f"({owner} = ?{more})")
        values += [caller.user_id, *given]
    if hidden := access.hidden_accounts(caller):
        conditions.append(f"{account} NOT IN ({', '.join('?' * len(hidden))})")
        values += hidden
    return conditions, values


def answer(
    asked: Page, rows: Sequence[Any], key: Callable[[Any], list[Any]], view: Callable[[Any], Any]
) -> dict[str, Any]:
    """Return the list document from one row more than the page holds."""
    shown = rows[: asked.limit]
    more = len(rows) > asked.limit
    return {
        "data": [view(row) for row in shown],
        "next_cursor": continue_after(asked, key(shown[-1])) if more else None,
    }


def continue_after(asked: Page, key: Sequence[Any]) -> str:
    """Return the cursor of the page after the item with this key."""
    return cursors.next_cursor(web.services().cursor_secret, asked.query, key)
