from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from certification.errors import UsageError
from certification.toml_source import SIZE_MAX_BYTES, load_toml, parse_toml, spell

if TYPE_CHECKING:
    from pathlib import Path

TEXT = '''# a comment = 1
top = 0.1
"quoted key" = 1  # [not.a.table]

[table.inner]
dotted.key = "a # b = c"
multi = """
[fake]
fake = 1
"""
literal = \'\'\'
x = "
\'\'\'
list = [
  1,  # first, [
  "two, ]",
  { a = 1, b = [2, 3] },
]

[[rows]]
name = "one"

[[rows]]
name = "two"
[rows.sub]
deep = true
[[rows.many]]
n = 1
[[rows.many]]
n = 2
'''

LINES = {
    ("top",): 2,
    ("quoted key",): 3,
    ("table", "inner"): 5,
    ("table", "inner", "dotted", "key"): 6,
    ("table", "inner", "multi"): 7,
    ("table", "inner", "literal"): 11,
    ("table", "inner", "list"): 14,
    ("table", "inner", "list", 0): 15,
    ("table", "inner", "list", 1): 16,
    ("table", "inner", "list", 2): 17,
    ("rows", 0, "name"): 21,
    ("rows", 1, "name"): 24,
    ("rows", 1, "sub", "deep"): 26,
    ("rows", 1, "many", 0, "n"): 28,
    ("rows", 1, "many", 1, "n"): 30,
}


def test_every_key_has_its_line() -> None:
    source = parse_toml(TEXT, name="x.toml")
    assert {path: source.line_of(path) for path in LINES} == LINES
    assert ("table", "inner", "fake") not in source.lines


def test_inside_an_inline_table_the_nearest_parent_is_named() -> None:
    source = parse_toml(TEXT, name="x.toml")
    assert source.line_of(("table", "inner", "list", 2, "b")) == 17
    assert source.line_of(("nowhere",)) is None
    error = source.error(("rows", 1, "name"), "is odd")
    assert error.message == "x.toml:24: rows[1].name: is odd"
    assert spell(("a", 0, "b")) == "a[0].b"


def test_floats_are_exact() -> None:
    assert parse_toml("a = 0.1\nb = 1_0.25", name="x").document == {
        "a": Fraction(1, 10),
        "b": Fraction(41, 4),
    }


def test_keys_that_nobody_asked_for_are_refused_with_those_that_are_allowed() -> None:
    root = parse_toml("known = 1\n\nsurprise = 2\n", name="x.toml").root()
    assert root.integer("known") == 1
    with pytest.raises(UsageError, match=r"x.toml:3: surprise: unknown key; .* are: known$"):
        root.done()


def test_a_missing_key_says_what_to_add() -> None:
    root = parse_toml("", name="x.toml").root()
    with pytest.raises(UsageError, match="the key 'name' is missing") as raised:
        root.text("name")
    assert raised.value.hint == "add `name = ...`"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = ", "not TOML: "),
        (b"a = 1\na = 2", "not TOML: "),
        (b"a = \xff", "not UTF-8 at byte 4"),
        (b"a = " + b"[" * 100_000, "nested too deeply|not TOML"),
        (b"a = " + b"9" * 5000, "not TOML: "),
        (b"#" * (SIZE_MAX_BYTES + 1), "larger than"),
    ],
)
def test_what_is_not_our_file_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        load_toml(path)
    assert raised.value.message.startswith(str(path))


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            load_toml(path)
