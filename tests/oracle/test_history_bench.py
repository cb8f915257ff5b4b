"""The benchmark of the history checker says by its end whether the figure is held."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

bench_history: Any = importlib.import_module("tests.benchmarks.bench_history")


def run(monkeypatch: pytest.MonkeyPatch, *, took_s: float, operations: int) -> None:
    monkeypatch.setattr(bench_history, "seconds", lambda _: took_s)
    monkeypatch.setattr(sys, "argv", ["bench_history.py", str(operations)])
    bench_history.main()


def test_a_figure_beyond_the_limit_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    said = r"too slow: 100,000 operations took 20\.01 s, 20 s is allowed"
    with pytest.raises(SystemExit, match=said):
        run(monkeypatch, took_s=20.01, operations=100_000)


def test_a_figure_within_the_limit_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, took_s=20.0, operations=100_000)
    run(monkeypatch, took_s=99.0, operations=1_000_000)
    assert "100,000 operations:  20.00 s" in capsys.readouterr().out


def test_a_long_right_history_is_judged() -> None:
    assert bench_history.seconds(500) > 0
