"""The pages: their fenced blocks with what is shown below each, headings, links, table marks."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "reference_impl" / "docs"
README = ROOT / "reference_impl" / "README.md"
START = DOCS / "user" / "getting-started.md"
"""Leaves a running deployment and `tools.sh`, from which other pages go on."""
ALONE = "<!-- runs in an empty folder -->"
"""Of a page that does not go on from START."""
OWN = "<!-- runs in a folder of its own, after getting started -->"
"""Of a page that goes on from START and leaves nothing for the pages after it."""
FENCE = re.compile(r"^```([a-z]*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = ("sh", "python")
SHOWN = ("text", "json")
NOT_RUN = "not run:"
LAST = "last"
"""Of a block that ends what the page began: run after all other pages."""


@dataclass
class Block:
    """Something to run, and what it prints."""

    page: Path
    line: int
    kind: str
    text: str
    last: bool = False
    shown_as: str = ""
    shown: str = ""

    @property
    def script(self) -> str:
        """The block as part of a shell script."""
        if self.kind == "sh":
            return self.text
        return f"python - <<'END_OF_PYTHON'\n{self.text}END_OF_PYTHON\n"

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    return [README, *sorted(DOCS.rglob("*.md"))]


def fences(page: Path) -> list[tuple[str, str, str, int]]:
    """Return kind, what follows the kind, text and line of every fenced block."""
    source = page.read_text(encoding="utf-8")
    return [
        (found[1], found[2].strip(), found[3], source.count("\n", 0, found.start()) + 1)
        for found in FENCE.finditer(source)
    ]


def blocks(page: Path) -> list[Block]:
    """Return what a page has to run; a shown answer belongs to the block above it."""
    found: list[Block] = []
    fresh = False
    for kind, more, text, line in fences(page):
        if kind in RUN:
            fresh = not more.startswith(NOT_RUN)
            if fresh:
                assert more in {"", LAST}, f"{page.name}:{line}: {more}"
                found.append(Block(page, line, kind, text, last=more == LAST))
        elif kind in SHOWN and fresh:
            block = found[-1]
            assert not block.shown_as, f"{block.place}: two answers below one block"
            block.shown_as, block.shown = kind, text
    return found


def not_run(page: Path) -> list[tuple[int, str]]:
    """Return line and reason of the blocks that are not run."""
    return [
        (line, more.removeprefix(NOT_RUN).strip())
        for _, more, _, line in fences(page)
        if more.startswith(NOT_RUN)
    ]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def same_line(shown: str, printed: str) -> bool:
    """Compare a line; `...` on the page stands for one or more characters."""
    return re.fullmatch(".+".join(map(re.escape, shown.split("..."))), printed) is not None


def same_text(shown: str, printed: str) -> bool:
    """Compare line by line; a line `...` stands for any number of lines."""
    wanted, got = shown.splitlines(), printed.splitlines()
    if "..." not in wanted:
        return len(wanted) == len(got) and all(map(same_line, wanted, got))
    at = wanted.index("...")
    head, rest = wanted[:at], wanted[at + 1 :]
    if len(got) < at or not all(map(same_line, head, got)):
        return False
    return any(
        same_text("\n".join(rest), "\n".join(got[skip:])) for skip in range(at, len(got) + 1)
    )


def same_json(shown: Any, printed: Any) -> bool:
    """Compare values: "..." is any value; in an object or at a list's end also any further ones."""
    if isinstance(shown, str) and isinstance(printed, str) and "..." in shown:
        return shown == "..." or same_line(shown, printed)
    if shown == "...":
        return True
    if isinstance(shown, dict) and isinstance(printed, dict):
        named = {name: value for name, value in shown.items() if name != "..."}
        if "..." not in shown and set(named) != set(printed):
            return False
        return all(
            name in printed and same_json(value, printed[name]) for name, value in named.items()
        )
    if isinstance(shown, list) and isinstance(printed, list):
        if shown and shown[-1] == "...":
            shown, printed = shown[:-1], printed[: len(shown) - 1]
        return len(shown) == len(printed) and all(map(same_json, shown, printed))
    return type(shown) is type(printed) and bool(shown == printed)


def compare(block: Block, printed: str) -> None:
    """Fail with what was shown and what was printed."""
    told = f"{block.place}\n{block.text}\nshown:\n{block.shown}\nprinted:\n{printed}"
    if block.shown_as == "json":
        assert same_json(json.loads(block.shown), json.loads(printed)), told
    else:
        assert same_text(block.shown, printed), told
