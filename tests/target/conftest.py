from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from certification.contract import load_contract
from certification.model import CheckId, Exchange
from certification.target.address import parse_base_url
from certification.target.client import Client, ClientSettings, Surroundings
from certification.target.limits import Limiter
from certification.target.recording import Recorder
from certification.target.session import Access

MakeAccess = Callable[..., Access]


@pytest.fixture
def recorded() -> list[Exchange]:
    return []


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def access_to(tmp_path: Path, recorded: list[Exchange], waits: list[float]) -> Iterator[MakeAccess]:
    """Connect to a URL with a short deadline; what is waited for goes to `waits` instead."""
    clients: list[Client] = []

    def make(url: str, **settings: Any) -> Access:
        base_url = parse_base_url(url)
        limiter = settings.pop("limiter", None) or Limiter(tmp_path / "requests")
        settings.setdefault("deadline_s", 0.5)
        settings.setdefault("allow_hosts", (base_url.host,))
        client = Client(
            ClientSettings(base_url=base_url, **settings),
            Surroundings(limiter=limiter, wait=waits.append),
        )
        clients.append(client)
        recorder = Recorder(check=CheckId("functional/test/it"), write=recorded.append)
        return Access(client=client, contract=load_contract(), sink=recorder)

    yield make
    for client in clients:
        client.close()
