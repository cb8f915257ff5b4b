from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification.certificate import (
    generate_key,
)
from certification.errors import UsageError
from certification.keys import load_private_key

if TYPE_CHECKING:
    from pathlib import Path


def test_keys_have_their_modes_and_are_never_overwritten(tmp_path: Path) -> None:
    pair = generate_key(tmp_path / "k")
    assert pair.private.stat().st_mode & 0o777 == 0o600
    assert pair.public.stat().st_mode & 0o777 == 0o644
    before = pair.private.read_bytes(), pair.public.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        generate_key(tmp_path / "k")
    assert (pair.private.read_bytes(), pair.public.read_bytes()) == before


def test_where_one_half_exists_neither_is_written(tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_text("mine")
    with pytest.raises(UsageError, match="never overwritten"):
        generate_key(tmp_path / "k")
    assert [path.name for path in tmp_path.iterdir()] == ["k.pem"]
    assert (tmp_path / "k.pem").read_text() == "mine"


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "k.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="never overwritten"):
        generate_key(tmp_path / "k")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"hello", "not a private key"), (b"x" * 20_000, "too large"), (b"", "not a private key")],
)
def test_what_is_no_key_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "k.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match=message):
        load_private_key(path)


def test_a_private_key_that_everyone_can_read_is_refused(tmp_path: Path) -> None:
    pair = generate_key(tmp_path / "k")
    pair.private.chmod(0o644)
    with pytest.raises(UsageError, match="every user can read") as raised:
        load_private_key(pair.private)
    assert raised.value.hint == f"chmod 600 {pair.private}"
    pair.public.chmod(0o600)
    with pytest.raises(UsageError, match="public key"):
        load_private_key(pair.public)
