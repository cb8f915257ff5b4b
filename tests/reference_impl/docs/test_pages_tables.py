"""Tables that repeat a source are what the source says now."""

from pathlib import Path

import pytest

from reference_impl.alerting.rules import IN_PROMETHEUS

from ._pages import DOCS, ROOT
from .tables import MARK, TABLES, filled, operations

PAGES = [page for page in sorted(DOCS.rglob("*.md")) if MARK.search(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_tables_are_those_of_their_sources(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text, "run `python -m tests.reference_impl.docs.tables`"


def test_every_kind_of_table_is_on_a_page() -> None:
    used = {found["name"] for page in PAGES for found in MARK.finditer(page.read_text("utf-8"))}
    assert used == set(TABLES)


def test_every_operation_of_the_contract_is_listed() -> None:
    text = (DOCS / "api" / "endpoints.md").read_text(encoding="utf-8")
    for method, path, found in operations():
        if found["x-alluse-module"] != "dual_control":
            assert f"`{method} {path}`" in text


def test_every_alert_rule_has_its_line_and_its_runbook() -> None:
    for name in ("alerts.md", "runbooks.md"):
        text = (DOCS / "operations" / name).read_text(encoding="utf-8")
        assert [rule.name for rule in IN_PROMETHEUS if f"|{rule.name}|" not in text] == []
