"""Every setting that would let the server start and then fail, or do nothing, is refused before."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reference_impl.__main__ import main
from reference_impl.config import Settings, StartRefusedError, complexity
from reference_impl.operations import settings

from .test_tls import make_pair


def gathered(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "reference.toml"
    path.write_text(f'database = "{tmp_path}/none.db"\n{text.replace("HERE", str(tmp_path))}')
    return settings.gather(path, {}, {})[0]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "text.pem").write_text("no certificate at all")
    (tmp_path / "empty.pem").touch()
    certificate, key = make_pair(tmp_path / "pair")
    certificate.rename(tmp_path / "own.pem")
    key.rename(tmp_path / "own.key")
    return tmp_path


ADDRESS = "give one without a port, such as 127.0.0.1 or ::1"
ALLOWED = "give host, host:port or [IPv6 address]:port, without a scheme, a path or a wildcard"
FOLDER = "no folder that can be written; choose another"
AUTHORITIES = "give a PEM file of authorities"
PAUSES = "no pause is longer than the latter; lower the first or raise the second"

WRONG = (
    ('host = ""', "host", ADDRESS),
    ('host = "127.0.0.1:80"', "host", ADDRESS),
    ('host = "http://127.0.0.1"', "host", ADDRESS),
    ('host = "127.0.0.256"', "host", ADDRESS),
    ('webhook_ca = "HERE/text.pem"', "webhook_ca", AUTHORITIES),
    ('webhook_ca = "HERE/empty.pem"', "webhook_ca", AUTHORITIES),
    ('webhook_ca = "HERE/own.key"', "webhook_ca", AUTHORITIES),
    ('webhook_ca = "HERE"', "webhook_ca", "there is no such file"),
    ('certificate = "HERE/text.pem"\nprivate_key = "HERE/own.key"', "certificate", "PEM files"),
    ('certificate = "HERE/own.pem"', "certificate", "they come together; give both files"),
    ('webhook_allow = "http://x/y"', "webhook_allow", ALLOWED),
    ('webhook_allow = "inside.example/y"', "webhook_allow", ALLOWED),
    (
        'webhook_allow = "good.example, *.example"',
        "webhook_allow",
        f"'*.example' is no host; {ALLOWED}",
    ),
    ('webhook_allow = "10.0.0.0/8"', "webhook_allow", ALLOWED),
    ('webhook_allow = "inside.example:0"', "webhook_allow", ALLOWED),
    ('webhook_allow = "inside.example:65536"', "webhook_allow", ALLOWED),
    ('webhook_allow = "inside.example:http"', "webhook_allow", ALLOWED),
    ('webhook_allow = "[::1]"', "webhook_allow", ALLOWED),
    ("webhook_timeout_ms = 0", "webhook_timeout_ms", "choose a whole number from 10 to 600000"),
    ("webhook_attempts = 0", "webhook_attempts", "choose a whole number from 1 to 1000"),
    ("webhook_retry_ms = 0", "webhook_retry_ms", "choose a whole number from 1 to 3600000"),
    ("webhook_retry_ms = 2000\nwebhook_retry_max_ms = 1999", "webhook_retry_ms", PAUSES),
    ("webhook_retry_ms = 900001", "webhook_retry_ms", PAUSES),
    ("webhook_retry_max_ms = 499", "webhook_retry_max_ms", PAUSES),
    ("webhook_give_up_s = 0", "webhook_give_up_s", "choose a whole number from 1 to 31536000"),
    (f"webhook_overlap_s = {2**62}", "webhook_overlap_s", "from 0 to 31536000"),
    ('backup_folder = "HERE/text.pem"', "backup_folder", FOLDER),
    ('backup_folder = "HERE/text.pem/below"', "backup_folder", FOLDER),
    ('password_complexity = "lower upper"', "password_complexity", "choose from lower, upper"),
    ('otlp_endpoint = "collector:4318"', "otlp_endpoint", "is not an http or https URL"),
)


@pytest.mark.parametrize(("text", "key", "fix"), WRONG)
def test_what_would_fail_later_is_refused_before_anything_opens(
    files: Path, text: str, key: str, fix: str
) -> None:
    with pytest.raises(StartRefusedError) as refused:
        gathered(files, text)
    assert key in str(refused.value)
    assert fix in str(refused.value)
    assert "\n" not in str(refused.value)
    config = files / "reference.toml"
    for command in (("config", "check"), ("serve",)):
        ended = run(*command, "--config", config)
        assert (ended.exit_code, str(refused.value) in ended.output) == (2, True), ended.output
        assert "none.db: " not in ended.output


@pytest.mark.parametrize(
    "text",
    [
        'host = "::1"',
        'host = "localhost"',
        'host = "service.internal"\nallow_plain_http = true',
        'webhook_allow = ""',
        'webhook_allow = "Inside.Example, 127.0.0.1:8080, ::1, [::1]:8080, relay, "',
        'webhook_ca = ""',
        'webhook_ca = "HERE/own.pem"',
        'certificate = "HERE/own.pem"\nprivate_key = "HERE/own.key"',
        "webhook_retry_ms = 900\nwebhook_retry_max_ms = 900",
        "webhook_overlap_s = 0",
        'backup_folder = "HERE/not/there/yet"',
        'otlp_endpoint = ""',
    ],
)
def test_what_can_work_is_taken(files: Path, text: str) -> None:
    gathered(files, text)


def test_every_number_has_bounds_and_they_are_taken(tmp_path: Path) -> None:
    numbers = {key for key, kind in settings.kinds().items() if kind in {int, float}}
    assert set(settings.BOUNDS) == numbers
    for key, (least, most) in settings.BOUNDS.items():
        fits = "webhook_retry_max_ms = 86400000\n" if key == "webhook_retry_ms" else ""
        fits = "webhook_retry_ms = 1\n" if key == "webhook_retry_max_ms" else fits
        for value in (least, most):
            assert getattr(gathered(tmp_path, f"{fits}{key} = {value}"), key) == value
        for value in (least - 1, most + 1):
            with pytest.raises(StartRefusedError, match=f"{key}: {value} is out of range"):
                gathered(tmp_path, f"{fits}{key} = {value}")


def test_blanks_between_the_classes_of_a_password_do_not_matter(tmp_path: Path) -> None:
    assert complexity(gathered(tmp_path, 'password_complexity = "lower, digit "')) == (
        "lower",
        "digit",
    )


def test_an_address_of_another_machine_is_refused_in_one_line(tmp_path: Path) -> None:
    database = tmp_path / "book.db"
    (tmp_path / "password").write_text("a quiet harbour 7")
    made = run("init", "--database", database, "--admin-password", f"file:{tmp_path}/password")
    assert made.exit_code == 0, made.output
    ended = run("serve", "--database", database, "--host", "192.0.2.1", "--allow-plain-http")
    assert ended.exit_code == 2
    assert "host: 192.0.2.1: " in ended.output
    assert "give an address of this machine" in ended.output
