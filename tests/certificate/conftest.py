from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification.certificate import (
    generate_key,
)

if TYPE_CHECKING:
    from pathlib import Path

from tests.certificate.signed_run import Signed, record, sign_at


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    pair = generate_key(tmp_path / "release")
    evidence = record(tmp_path / "run")
    certificate = sign_at(evidence, pair.private)
    return Signed(evidence, certificate, pair.private, pair.public, pair.keyid)
