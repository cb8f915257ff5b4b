"""Links and anchors lead somewhere, every page is in the table of contents, and none is long."""

import re
from pathlib import Path

import pytest

from ._pages import DOCS, README, ROOT, anchors, pages, prose

CONTENTS = DOCS / "README.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
LINES_MAX = 180
LONG = {"walkthrough.md": 450, "endpoints.md": 260, "configuration.md": 260, "metrics.md": 260}
LONG |= {"errors.md": 280, "integration.md": 260}
"""Pages that hold a story in one piece, or a table made from its source."""
PARTS = ("ARCH", "API", "USER", "OPS", "DEV")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_are_there(page: Path) -> None:
    """A name in code with a folder of this project in front is a path from its root."""
    folders = "reference_impl|certification|tests|suites|fixtures|docs"
    for name in re.findall(rf"`((?:{folders})/[\w./*-]+)`", prose(page)):
        assert list(ROOT.glob(name.rstrip("/"))), f"{page.name}: {name}"


def test_the_table_of_contents_names_every_page() -> None:
    named = {
        (DOCS / target.partition("#")[0]).resolve()
        for target in LINK.findall(prose(CONTENTS))
        if not target.startswith("http")
    }
    assert set(DOCS.rglob("*.md")) - {CONTENTS} <= named
    assert "docs/README.md" in README.read_text(encoding="utf-8")


def test_each_required_part_has_a_page() -> None:
    text = CONTENTS.read_text(encoding="utf-8")
    for part in PARTS:
        for number in range(1, 6):
            assert re.search(rf"DOC-{part}-{number}\b", text), (part, number)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_is_short_and_begins_with_its_title(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONG.get(page.name, LINES_MAX)
    assert lines[0].startswith("# ")
    assert sum(line.startswith("# ") for line in prose(page).splitlines()) == 1
