"""Runs pages as a reader would: the blocks of a page, in their order, are one shell script."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ._pages import START, Block, blocks, compare

MARK = "=== end of block ==="
TIMEOUT_S = 60


@dataclass
class Reader:
    """Somebody with a folder who runs what the pages say."""

    folder: Path
    groups: list[int] = field(default_factory=list)

    def run(self, todo: list[Block]) -> None:
        """Run blocks of one page and compare what each prints; what they start goes on."""
        script = "".join(f"{block.script}echo '{MARK}'\n" for block in todo)
        file = self.folder / "page.script"
        file.write_text(script, encoding="utf-8")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", str(file)],  # noqa: S607 - the reader's own bash
                cwd=self.folder / "work",
                env={**environment(), "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            self.groups.append(process.pid)
            try:
                code = process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                code = -1
        self.judge(todo, code)

    def judge(self, todo: list[Block], code: int) -> None:
        printed = (self.folder / "out").read_text(encoding="utf-8")
        errors = (self.folder / "err").read_text(encoding="utf-8")
        *outputs, rest = printed.split(f"{MARK}\n")
        for block, output in zip(todo, outputs, strict=False):
            compare(block, output)
        if len(outputs) < len(todo):
            where = todo[len(outputs)]
            pytest.fail(f"{where.place}: exit code {code}\n{where.text}\n{rest}\n{errors}")
        assert (code, rest) == (0, "")

    def end(self) -> None:
        """Kill what is still running of what the pages have started."""
        for group in self.groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue


def environment() -> dict[str, str]:
    """A reader's environment: nothing of a deployment, nor of the running tests, is set."""
    own = ("ALLUSE_", "PYTEST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


def reader(folder: Path) -> Reader:
    (folder / "work").mkdir()
    return Reader(folder)


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Reader]:
    """Somebody in an empty folder."""
    found = reader(tmp_path)
    yield found
    found.end()


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody who has followed the first page; at the end of all, its last blocks are run."""
    found = reader(tmp_path_factory.mktemp("pages"))
    try:
        first = blocks(START)
        found.run([block for block in first if not block.last])
        yield found
        found.run([block for block in first if block.last])
    finally:
        found.end()
