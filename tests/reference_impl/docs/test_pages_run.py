"""Every command and example of the pages runs, and prints what the page shows below it."""

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ._pages import (
    ALONE,
    DOCS,
    OWN,
    ROOT,
    RUN,
    SHOWN,
    START,
    Block,
    blocks,
    fences,
    not_run,
    pages,
    same_json,
    same_text,
)

if TYPE_CHECKING:
    from .conftest import Reader

NOT_RUN_MAX = 6
"""Blocks that need what a test does not have; each names its reason."""
WITH_BLOCKS = [page for page in pages() if blocks(page)]
IDS = [page.relative_to(ROOT / "reference_impl").as_posix() for page in WITH_BLOCKS]


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=IDS)
def test_the_blocks_of_a_page_do_what_it_says(page: Path, request: pytest.FixtureRequest) -> None:
    if page == START:
        request.getfixturevalue("started")
        return
    text = page.read_text(encoding="utf-8")
    alone, own = ALONE in text, OWN in text
    reader: Reader = request.getfixturevalue("newcomer" if alone or own else "started")
    if own:
        reader.run([block for block in blocks(START) if not block.last])
    reader.run(blocks(page))


def test_the_walk_through_says_how_to_make_one_script_of_it() -> None:
    page = DOCS / "walkthrough.md"
    found = re.search(r"^    (sed .*) >walkthrough\.sh$", page.read_text("utf-8"), re.MULTILINE)
    assert found
    made = subprocess.run(
        ["bash", "-c", found[1]],  # noqa: S607 - the reader's own bash
        cwd=DOCS,
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout == "".join(block.text for block in blocks(page))


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    found = {page: not_run(page) for page in pages()}
    assert all(reason for page in found for _, reason in found[page])
    assert sum(map(len, found.values())) <= NOT_RUN_MAX


def test_nothing_on_a_page_escapes_the_runner() -> None:
    """Other names for shell blocks would not be run, and JSON is shown below what prints it."""
    for page in pages():
        found = fences(page)
        assert {kind for kind, *_ in found} <= {*RUN, *SHOWN}, page
        shown = [block for block in blocks(page) if block.shown_as == "json"]
        assert len(shown) == sum(kind == "json" for kind, *_ in found), page


def test_a_page_that_goes_on_from_the_first_says_so() -> None:
    for page in WITH_BLOCKS:
        text = page.read_text(encoding="utf-8")
        if page != START and ALONE not in text:
            assert "getting-started.md" in text, page
            assert ". ./tools.sh" in blocks(page)[0].text, page


def test_most_pages_show_something_that_runs() -> None:
    assert len(WITH_BLOCKS) >= len(list(DOCS.rglob("*.md"))) // 2


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb", "a\nb", True),
        ("a", "a\nb", False),
        ("a ... c", "a b c", True),
        ("...", "", True),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...\nd", "a\nb\nc", False),
    ],
)
def test_text_is_compared_line_by_line(shown: str, printed: str, same: bool) -> None:
    assert same_text(shown, printed) is same


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1, "...": "..."}, {"a": 1, "b": 2}, True),
        ({"a": "..."}, {"a": None}, True),
        ({"a": "acc_..."}, {"a": "acc_1"}, True),
        ({"a": "acc_..."}, {"a": "usr_1"}, False),
        ([1, "..."], [1, 2, 3], True),
        ([1, 2], [1, 2, 3], False),
    ],
)
def test_answers_are_compared_member_by_member(shown: Any, printed: Any, same: bool) -> None:
    assert same_json(shown, printed) is same


def test_the_runner_notices_what_is_not_as_shown(newcomer: "Reader") -> None:
    def block(text: str, shown: str, kind: str = "text") -> Block:
        return Block(START, 1, "sh", text, shown_as=kind, shown=shown)

    newcomer.run([block("a=1\n", ""), block("echo $a\n", "1\n"), block("echo 2\n", "2", "json")])
    wrong = [
        [block("echo 1\n", "")],
        [block("echo '[1]'\n", "[1, 2]", "json")],
        [block("true\n", ""), block("false\n", "")],
        [block("exit 0\n", "")],
    ]
    for todo in wrong:
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            newcomer.run(todo)
