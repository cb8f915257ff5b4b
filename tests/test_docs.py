"""The documents say what is: generated parts are current, examples run, links lead somewhere."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from certification import evidence, toml_source
from certification.claims import Rule, load_document
from certification.claims.document import StatementKind
from certification.cli import COMMANDS, group
from certification.errors import ExitCode
from certification.model import Outcome, Veto
from certification.profile import load_profile, parse_profile, shipped_profiles
from certification.profile_gates import GateKind
from certification.report import FORMATS
from certification.report.json import schema
from certification.target.file import load_target
from certification.toml_source import Section
from certification.waivers import load_attestations, load_waivers, load_workarounds

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        ROOT / "certification" / "contract" / "README.md",
        ROOT / "fixtures" / "replays" / "README.md",
    ]
)
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUNNABLE = re.compile(r"(?:sh|console) run(?:=(\d+))?")
EXAMPLE_TIMEOUT_S = 180


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=page_id)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield (what stands behind the fence, the text between)."""
    for found in FENCE.finditer(text_of(page)):
        yield found[1].strip(), found[2]


def example(name: str, kind: str) -> str:
    """Return the one example of a page that is marked as such: ```toml KIND."""
    found = [text for info, text in blocks(DOCS / name) if info == f"toml {kind}"]
    assert len(found) == 1
    return found[0]


# -- generated parts -------------------------------------------------------------------------


def test_generated_pages_are_those_that_are_committed() -> None:
    pages: dict[Path, str] = runpy.run_path(str(DOCS / "generate.py"))["generated"]()
    stale = [page_id(file) for file, text in pages.items() if text_or_none(file) != text]
    assert stale == [], "run `python docs/generate.py`"
    left = [page_id(file) for file in (DOCS / "checks").glob("*.md") if file not in pages]
    assert left == [], "run `python docs/generate.py`: pages of areas that are gone"


def text_or_none(file: Path) -> str | None:
    return text_of(file) if file.is_file() else None


def test_the_readme_shows_what_the_installed_command_prints() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("certify"), "--help"],
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("text", done.stdout) in list(blocks(ROOT / "README.md"))


# -- nothing that can be set is undocumented -------------------------------------------------


def every_option() -> Iterator[tuple[str, click.Parameter]]:
    context = click.Context(group)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            yield name, parameter


def test_every_option_stands_on_the_page_of_commands() -> None:
    page = text_of(DOCS / "commands.md")
    for name, parameter in every_option():
        part = page.split(f"\n## certify {name}\n", 1)[1].split("\n## certify ", 1)[0]
        for spelling in parameter.opts if isinstance(parameter, click.Option) else ():
            assert spelling in part, f"certify {name} {spelling}"


def test_every_option_says_what_it_does() -> None:
    silent = [
        f"certify {name} {parameter.opts[0]}"
        for name, parameter in every_option()
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []


def test_every_exit_code_is_explained() -> None:
    for page in (ROOT / "README.md", DOCS / "exit-codes.md"):
        for code in ExitCode:
            assert f"| {code.value} |" in text_of(page)
    rows = text_of(DOCS / "exit-codes.md").split("## For each command")[1]
    for name in COMMANDS:
        assert f"`{name}`" in rows


class Asked:
    """Remembers every key that a loader asks for, as `table.key` without indices."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: set[str] = set()
        known = Section.has

        def has(section: Section, key: str) -> bool:
            path = [part for part in section._path if isinstance(part, str)]
            self.keys.add(".".join([*path, key]))
            return known(section, key)

        monkeypatch.setattr(toml_source.Section, "has", has)

    def leaves(self) -> set[str]:
        """The keys that are not the name of a table that was read further."""
        return {key for key in self.keys if not any(o.startswith(f"{key}.") for o in self.keys)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def documented(name: str) -> set[str]:
    """The keys in the first column of a page's tables."""
    rows = re.findall(r"^\| (`[^|]*`) \|", text_of(DOCS / name), re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


def compare_keys(asked: set[str], page: str, renamed: Callable[[str], str]) -> None:
    known = documented(page)
    missing = {renamed(key) for key in asked} - known
    assert missing == set(), f"docs/{page} does not explain these keys"


def test_every_key_of_a_target_file_is_explained(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TARGET_ADMIN_PASSWORD", "not a secret")
    for name in ("customer.secret", "private-ca.pem", "client.pem", "client-key.pem"):
        (tmp_path / name).write_text("not a secret\n")
    for name in ("checkout/docs", "logs", "dashboards"):
        (tmp_path / name).mkdir(parents=True)
    file = tmp_path / "target.toml"
    file.write_text(example("target-file.md", "target"))
    target = load_target(file)
    assert target.proxy is not None

    def renamed(key: str) -> str:
        return re.sub(r"^identities\.\w+\.", "identities.ROLE.", key)

    compare_keys(asked.leaves(), "target-file.md", renamed)
    given = tomllib.loads(file.read_text())
    unused = {key for key in asked.leaves() if not present(given, key)}
    assert unused == set(), "the example says that it has every key"


def test_every_key_of_a_profile_is_explained(asked: Asked, tmp_path: Path) -> None:
    file = tmp_path / "example.toml"
    file.write_text(example("profiles.md", "profile"))
    profile = load_profile(str(file))
    assert {gate.kind for level in profile.levels for gate in level.gates} == set(GateKind)
    assert parse_profile(profile.document).sha256 == profile.sha256

    def renamed(key: str) -> str:
        return re.sub(r"^(categories|vetoes|targets|trials)\.\w+", r"\1.NAME", key)

    compare_keys(asked.leaves(), "profiles.md", renamed)
    given = tomllib.loads(file.read_text())
    unused = {key for key in asked.leaves() if not present(given, key)}
    assert unused == set(), "the example says that it uses every key"


def present(document: Any, dotted: str) -> bool:
    """Whether the key is given, in any row where a table is repeated."""
    here = [document]
    for part in dotted.split("."):
        inner = [row[part] for row in here if isinstance(row, dict) and part in row]
        here = [row for value in inner for row in (value if isinstance(value, list) else [value])]
        if not inner:
            return False
    return True


def test_every_key_of_a_reported_document_is_explained(asked: Asked, tmp_path: Path) -> None:
    file = tmp_path / "claims.toml"
    file.write_text(example("claims.md", "claims"))
    load_document(file)
    compare_keys(asked.leaves(), "claims.md", lambda key: key)


def test_every_key_of_waivers_and_attestations_is_explained(asked: Asked, tmp_path: Path) -> None:
    waivers, attestations = tmp_path / "waivers.toml", tmp_path / "attestations.toml"
    waivers.write_text(example("release-engineer.md", "waivers"))
    attestations.write_text(example("release-engineer.md", "attestations"))
    assert load_waivers(waivers)
    assert load_workarounds(waivers)
    assert load_attestations(attestations)
    compare_keys(asked.leaves(), "release-engineer.md", lambda key: key)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("profiles.md", [kind.value for kind in GateKind]),
        ("profiles.md", list(shipped_profiles())),
        ("scoring.md", [veto.value for veto in Veto]),
        ("claims.md", [rule.value for rule in Rule]),
        ("claims.md", [kind.value for kind in StatementKind]),
        ("evidence.md", list(schema()["properties"])),
        ("evidence.md", [evidence.EVIDENCE_FORMAT, schema()["properties"]["schema"]["const"]]),
        ("target-file.md", ["admin", "customer", "customer2", "operator", "manager", "auditor"]),
    ],
)
def test_every_name_of_a_closed_set_is_on_its_page(page: str, names: list[str]) -> None:
    shown = text_of(DOCS / page)
    assert [name for name in names if f"`{name}`" not in shown] == []


@pytest.mark.parametrize("page", ["scoring.md", "implementer.md"])
def test_every_outcome_is_explained(page: str) -> None:
    for outcome in Outcome:
        assert f"| {outcome.value} |" in text_of(DOCS / page)


def test_every_file_of_a_run_is_named() -> None:
    written = ("evidence.jsonl.gz", "report.html", "result.json", "junit.xml", "findings.sarif")
    for name in (*written, "results.csv", "summary.md", "certificate.intoto.json"):
        assert f"`{name}`" in text_of(DOCS / "release-engineer.md")
    assert len(FORMATS) == 6, "a format was added: name its file in docs/release-engineer.md"


# -- links and examples ----------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    prose = FENCE.sub("", text_of(page))
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in plain}


@each_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    prose = FENCE.sub("", text_of(page))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page_id(page)}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page_id(page)}: {target}"


def test_every_page_is_reached_from_the_readme() -> None:
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", text_of(page))
        found = {(page.parent / link).resolve() for link in links if not link.startswith("http")}
        todo += [file for file in found if file not in seen]
    assert [page_id(page) for page in PAGES if page not in seen] == []


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder that looks like the checkout, where examples can write what they like."""
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and entry.name != "runs":
            (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


def runnable() -> Iterator[Any]:
    for page in PAGES:
        for number, (info, text) in enumerate(blocks(page), 1):
            if match := RUNNABLE.fullmatch(info):
                name = f"{page_id(page)}-{number}"
                yield pytest.param(text, int(match[1] or 0), id=name)


@pytest.mark.parametrize(("script", "code"), list(runnable()))
def test_an_example_that_is_marked_does_what_the_page_says(
    script: str, code: int, desk: Path
) -> None:
    done = subprocess.run(  # noqa: S602  our own documents
        f"set -e\n{script}",
        shell=True,
        cwd=desk,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=EXAMPLE_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@each_page
def test_every_command_in_an_example_exists(page: Path) -> None:
    context = click.Context(group)
    for info, text in blocks(page):
        if not info.startswith(("sh", "console")):
            continue
        for line in text.splitlines():
            call = re.match(r"(?:\S*/)?certify ([a-z]+)(.*)", line.split("&&")[-1].strip())
            if call is None:
                continue
            command = group.get_command(context, call[1])
            assert command is not None, line
            known = {spelling for parameter in command.params for spelling in parameter.opts}
            given = re.findall(r"(?<=\s)(-{1,2}[a-z][a-z-]*)", call[2].split("#")[0])
            assert set(given) <= known | {"--help"}, line


def test_the_guide_for_approvers_knows_every_level_of_the_profiles() -> None:
    shown = text_of(DOCS / "approver.md")
    for name in ("standard", "gold"):
        for level in load_profile(name).level_names():
            assert f"| {level} |" in shown
