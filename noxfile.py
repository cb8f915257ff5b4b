"""Sessions: the same commands in CI, at night and on a desk."""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "typing", "tests"]
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).parent
CONSTRAINTS = ("-c", "requirements.lock")
AT_ONCE = ("-n", "4", "--dist", "worksteal")
"""Tests wait for clocks and servers half of their time: more at once than there are cores."""


def _install(session: nox.Session) -> None:
    session.install("-e", ".[dev]", *CONSTRAINTS)


@nox.session
def certify(session: nox.Session) -> None:
    """Do the main job: `nox -s certify -- --target staging.toml`; without, the embedded default."""
    session.install("-e", ".", *CONSTRAINTS)
    session.run("certify", "run", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The project's own tests, as CI runs them."""
    _install(session)
    session.run("pytest", *AT_ONCE, "-m", "not slow", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that take long: checks on other correct deployments, alerts by real faults."""
    _install(session)
    session.run("pytest", *AT_ONCE, "-m", "slow", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, spelling and security lint, as CI runs them."""
    _install(session)
    session.run(str(ROOT / ".ci" / "lint"), external=True)


@nox.session
def typing(session: nox.Session) -> None:
    """Types."""
    _install(session)
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Write the generated pages again; the tests compare them with what is committed."""
    _install(session)
    session.run("python", "docs/generate.py", *session.posargs)
    session.run("python", "-m", "tests.reference_impl.docs.tables")


@nox.session
def prove(session: nox.Session) -> None:
    """Run every check on the defect it names, races 20 times; `-- --matrix FILE`: all on all."""
    session.install("-e", ".", *CONSTRAINTS)
    session.run("certify", "prove", *(session.posargs or ["--race-tries", "20"]))


@nox.session
def clean(session: nox.Session) -> None:
    """N whole runs on the clean reference: `nox -s clean -- 10`; no false alarm is allowed."""
    session.install("-e", ".", *CONSTRAINTS)
    session.run("python", "tests/benchmarks/clean_runs.py", *(session.posargs or ["10"]))


@nox.session
def endurance(session: nox.Session) -> None:
    """Kill the reference 200 times under load, and start and stop it 50 times."""
    _install(session)
    often = {"REFERENCE_KILLS": "200", "REFERENCE_STARTS": "50"}
    files = ("test_faults_kill.py", "test_serving.py")
    session.run("pytest", *(f"tests/reference_impl/{file}" for file in files), env=often)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the figures that the documents quote."""
    _install(session)
    for script in sorted((ROOT / "tests" / "benchmarks").glob("bench_*.py")):
        session.run("python", str(script), *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of what we depend on."""
    _install(session)
    session.run("pip-audit", "-r", "requirements.lock", "--no-deps", "--disable-pip")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it into an empty environment, leave the checkout, run it there."""
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.install("build>=1.3,<2")
    session.run("python", "-m", "build", "--wheel", "--outdir", str(dist))
    built = next(dist.glob("*.whl"))
    session.install("--force-reinstall", str(built), "-c", str(ROOT / "requirements.lock"))
    elsewhere = dist.parent / "elsewhere"
    shutil.rmtree(elsewhere, ignore_errors=True)
    elsewhere.mkdir()
    session.chdir(elsewhere)
    session.run("certify", "run", "--profile", "smoke", "--out", "smoke")
    session.run("certify", "prove", "held-money-is-free")
