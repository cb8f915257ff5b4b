"""The walk-through: its blocks run as one script and print what the page shows below them."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "reference_impl" / "docs" / "walkthrough.md"
FENCE = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "=== end of block ==="
TIMEOUT_S = 60


def steps() -> list[tuple[str, str]]:
    """Return each block with the lines shown below it, none if it prints nothing."""
    found: list[tuple[str, str]] = []
    for kind, text in FENCE.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "sh":
            found.append((text, ""))
        else:
            block, shown = found[-1]
            assert not shown, f"two outputs below one block: {text}"
            found[-1] = (block, text)
    return found


def run(script: str, folder: Path) -> tuple[int, str, str]:
    """Run a script as a reader would; whatever it leaves running is killed."""
    (folder / "work").mkdir()
    file = folder / "walkthrough.sh"
    file.write_text(script, encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", str(file)],  # noqa: S607 - the reader's own bash
        cwd=folder / "work",
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"not done after {TIMEOUT_S} s; printed:\n{out}\n{err}")
    return process.returncode, out, err


def matches(shown: str, printed: str) -> bool:
    """Compare a line; `...` on the page stands for one or more characters."""
    return re.fullmatch(".+".join(map(re.escape, shown.split("..."))), printed) is not None


def test_the_walk_through_prints_what_the_page_shows(tmp_path: Path) -> None:
    walk = steps()
    script = "".join(f"{block}echo '{MARK}'\n" for block, _ in walk)
    code, out, err = run(script, tmp_path)
    assert code == 0, f"{out}\n{err}"
    *outputs, rest = out.split(f"{MARK}\n")
    assert rest == ""
    assert len(outputs) == len(walk)
    for (block, shown), printed in zip(walk, outputs, strict=True):
        wanted, got = shown.splitlines(), printed.splitlines()
        assert len(wanted) == len(got), f"{block}\nprinted:\n{printed}"
        for line, real in zip(wanted, got, strict=True):
            assert matches(line, real), f"{block}\nshown: {line}\nprinted: {real}"
