from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification.errors import UsageError
from certification.waivers import load_attestations, load_waivers, load_workarounds

if TYPE_CHECKING:
    from pathlib import Path

WAIVER = """
[[waiver]]
check = "functional/a/x"
reason = "fixed in the next release"
owner = "N. N."
ticket = "T-1"
expires = 2026-12-31
"""
ATTESTATION = """
[[attestation]]
requirement = "OPS-INC"
statement = "the procedure was rehearsed"
person = "N. N."
role = "head of operations"
date = "2026-01-05"
expires = 2026-12-31
"""


def a_file(folder: Path, text: str) -> Path:
    path = folder / "said.toml"
    path.write_text(text)
    return path


def test_waivers_and_workarounds_share_a_file(tmp_path: Path) -> None:
    text = WAIVER + '[[workaround]]\ncheck = "a/b/c"\ntext = "retry"\nowner = "N. N."\n'
    path = a_file(tmp_path, text)
    assert [(w.check, w.expires) for w in load_waivers(path)] == [("functional/a/x", "2026-12-31")]
    assert [(w.check, w.text) for w in load_workarounds(path)] == [("a/b/c", "retry")]


def test_attestations_are_read(tmp_path: Path) -> None:
    (row,) = load_attestations(a_file(tmp_path, ATTESTATION))
    assert (row.requirement, row.date, row.expires) == ("OPS-INC", "2026-01-05", "2026-12-31")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ticket = ", "tikcet = ", r"said.toml:2: waiver\[0\]: the key 'ticket' is missing"),
        ('"T-1"', '"T-1"\nlink = "x"', r"said.toml:7: waiver\[0\].link: unknown key"),
        ("2026-12-31", '"soon"', r"said.toml:7: waiver\[0\].expires: 'soon' is not a date"),
        ("2026-12-31", "2026-12-31T00:00:00", r"expires: .* is not a date"),
        ("2026-12-31", "5", r"expires: 5 is not a date"),
        ('"N. N."', '" "', r"waiver\[0\].owner: is blank"),
        ("[[waiver]]", "[[waver]]", r"said.toml:2: waver: unknown key; .* waiver, workaround"),
        ("2026-12-31\n", "2026-12-31\n" + WAIVER, r"functional/a/x is waived twice"),
    ],
)
def test_a_mistake_in_a_waiver_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_waivers(a_file(tmp_path, WAIVER.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2026-12-31", "2026-01-04", "2026-01-04 is before 2026-01-05"),
        ("2026-12-31\n", "2026-12-31\n" + ATTESTATION, "OPS-INC is attested twice"),
        ("person", "name", "the key 'person' is missing"),
    ],
)
def test_a_mistake_in_an_attestation_is_named(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_attestations(a_file(tmp_path, ATTESTATION.replace(old, new, 1)))
