"""House rules that no linter knows: who may import whom, sizes, names, words."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON_FOLDERS = ("certification", "reference_impl", "suites", "fixtures", "tests", "docs")
LINES_MAX = 400
BODY_LINES_MAX = 70

OFFLINE = (
    "model",
    "results",
    "errors",
    "contract",
    "profile",
    "register",
    "evidence",
    "scoring",
    "gate",
    "judge",
    "merge",
    "waivers",
    "compare",
    "report",
    "certificate",
    "claims",
)
"""Works on documents and recorded runs; a verdict can be checked years later without a network."""
OBSERVING = (
    "target",
    "connection",
    "checks",
    "context",
    "arrange",
    "oracle",
    "counterparties",
    "cleanup",
    "spool",
    "pytest_plugin",
    "phases",
    "plan",
)
"""Talks to a target and records; never computes a score."""
JUDGING = ("scoring", "gate", "judge", "report", "certificate", "claims", "compare", "merge")
JOINS = ("runner", "prove", "cli", "outputs")
"""See both branches, and are seen by neither."""
NETWORK = {
    "asyncio",
    "ftplib",
    "granian",
    "flask",
    "http",
    "httpcore",
    "httpx",
    "locust",
    "pytest",
    "requests",
    "smtplib",
    "socket",
    "socketserver",
    "ssl",
    "urllib.request",
    "xdist",
}

QUALITY_WORDS = (
    "amazing|awesome|battle-tested|best-in-class|blazing|bulletproof|comprehensive|cutting[- ]edge|"
    "effortless|elegant|enterprise|excellent|first-class|game-changing|holistic|industry-leading|"
    "innovative|next-generation|powerful|production-grade|revolutionary|robust|seamless|"
    "sophisticated|state-of-the-art|superior|turnkey|unparalleled|world-class"
)
TEXT_SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".j2", ".js", ".css", ".sql", ".ini"}
QUOTING = {"tests/test_tidy.py", "suites/requirements.toml"}
"""Hold the words themselves, or what the documents of 2025 ask for in their own words."""


def python_files(*folders: str) -> list[Path]:
    found = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    return [file for file in found if "__pycache__" not in file.parts]


def text_files() -> Iterator[Path]:
    for file in sorted(ROOT.iterdir()):
        if file.is_file() and file.suffix in TEXT_SUFFIXES:
            yield file
    for folder in (*PYTHON_FOLDERS, "reports", ".ci"):
        for file in sorted((ROOT / folder).rglob("*")):
            plain = file.suffix in TEXT_SUFFIXES or not file.suffix
            if file.is_file() and plain and "__pycache__" not in file.parts:
                yield file


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def place(file: Path, line: int | None = None) -> str:
    name = file.relative_to(ROOT).as_posix()
    return name if line is None else f"{name}:{line}"


def imported(file: Path) -> set[str]:
    """Every module that a file imports, lazily or for types too; relative ones made absolute."""
    package = list(file.relative_to(ROOT).with_suffix("").parts[:-1])
    names: set[str] = set()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def module_file(name: str) -> Path | None:
    base = ROOT / Path(*name.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def members(names: tuple[str, ...]) -> set[str]:
    """The modules of the branches: `report` stands for `certification.report` and all below it."""
    found = set()
    for file in python_files("certification"):
        dotted = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if len(dotted.split(".")) > 1 and dotted.split(".")[1] in names:
            found.add(dotted)
    return found


def reached(start: set[str]) -> dict[str, str]:
    """Every module that `start` imports, directly or not, with the module that imports it."""
    via: dict[str, str] = {}
    todo = sorted(start)
    while todo:
        name = todo.pop()
        file = module_file(name)
        if file is None or not name.startswith("certification"):
            continue
        for other in sorted(imported(file)):
            if other not in via and other not in start:
                via[other] = name
                todo.append(other)
    return via


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_the_branches_of_the_import_rule_exist() -> None:
    for name in (*OFFLINE, *OBSERVING, *JOINS):
        assert module_file(f"certification.{name}"), f"certification.{name} is gone: mend this test"


def test_the_offline_branch_reaches_neither_network_nor_pytest_nor_runner() -> None:
    forbidden = NETWORK | {f"certification.{name}" for name in (*OBSERVING, *JOINS)}
    via = reached(members(OFFLINE))
    offenders = [
        f"{by} imports {name}" for name, by in sorted(via.items()) if within(name, forbidden)
    ]
    assert offenders == []


def test_what_observes_never_judges() -> None:
    forbidden = {f"certification.{name}" for name in (*JUDGING, *JOINS)}
    via = reached(members(OBSERVING))
    offenders = [
        f"{by} imports {name}" for name, by in sorted(via.items()) if within(name, forbidden)
    ]
    assert offenders == []


@pytest.mark.parametrize(
    ("folder", "stranger"),
    [
        ("certification", "reference_impl"),
        ("reference_impl", "certification"),
        ("suites", "reference_impl"),
        ("reference_impl", "suites"),
    ],
)
def test_runner_and_reference_do_not_know_each_other(folder: str, stranger: str) -> None:
    offenders = [
        f"{place(file)} imports {name}"
        for file in python_files(folder)
        for name in sorted(imported(file))
        if within(name, {stranger})
    ]
    assert offenders == []


def test_suites_import_only_certification_pytest_and_the_standard_library() -> None:
    offenders = [
        f"{place(file)} imports {name}"
        for file in python_files("suites")
        for name in sorted(imported(file))
        if name.split(".")[0] not in {"certification", "pytest", *sys.stdlib_module_names}
    ]
    assert offenders == []


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    sizes = {
        place(file): len(file.read_text(encoding="utf-8").splitlines())
        for file in python_files(*PYTHON_FOLDERS)
    }
    assert {name: size for name, size in sizes.items() if size > LINES_MAX} == {}


def test_no_function_body_is_longer_than_a_screen_and_a_half() -> None:
    long = {}
    for file in python_files(*PYTHON_FOLDERS):
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                size = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]  # parsed trees have lines
                if size > BODY_LINES_MAX:
                    long[f"{place(file, node.lineno)} {node.name}"] = size
    assert long == {}


def test_every_module_says_in_its_first_sentence_what_it_is_for() -> None:
    files = python_files("certification", "reference_impl", "suites", "fixtures", "docs")
    assert [place(file) for file in files if not ast.get_docstring(tree_of(file))] == []


def calls(file: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


@pytest.mark.parametrize("name", ["print", "time.sleep", "sleep", "breakpoint"])
def test_nothing_is_printed_and_nothing_sleeps(name: str) -> None:
    offenders = [
        place(file, line)
        for file in python_files("certification", "suites")
        for line, called in calls(file)
        if called == name
    ]
    assert offenders == []


def broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {None if kind is None else ast.unparse(kind) for kind in kinds}
    return bool(names & {None, "Exception", "BaseException"})


def raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_one_place_alone_turns_any_exception_into_an_outcome() -> None:
    found = [
        place(file)
        for file in python_files("certification")
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.ExceptHandler) and broad(node) and not raises_again(node)
    ]
    assert found == ["certification/pytest_plugin.py"]


def test_no_class_is_named_after_nothing() -> None:
    vague = re.compile(r".*(Manager|Framework|Engine|Helpers?|Utils?|Utilities)$")
    offenders = [
        f"{place(file, node.lineno)} {node.name}"
        for file in python_files(*PYTHON_FOLDERS)
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.ClassDef) and vague.match(node.name)
    ]
    assert offenders == []


@pytest.mark.parametrize(
    "pattern",
    [rf"(?i)\b({QUALITY_WORDS})(ly)?\b", r"\b(TODO|FIXME|HACK)\b"],
    ids=["words-that-only-praise", "things-left-undone"],
)
def test_words_that_do_not_occur(pattern: str) -> None:
    words = re.compile(pattern)
    offenders = [
        f"{place(file, number)}: {match.group(0)}"
        for file in text_files()
        if place(file) not in QUOTING
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        for match in words.finditer(line)
    ]
    assert offenders == []
