"""Plants one changed place in the source of an oracle and asks the vectors of a test module."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

KILLER = "test_a_mutant_is_killed"


def is_killed(
    monkeypatch: pytest.MonkeyPatch,
    real: types.ModuleType,
    change: tuple[str, str],
    space: dict[str, Any],
) -> bool:
    """Tell whether a test of the module whose globals are `space` fails with the change.

    Only vectors count: tests whose numbers stand in them, not those whose numbers are drawn.
    """
    old, new = change
    source = Path(str(real.__file__)).read_text(encoding="utf-8")
    assert source.count(old) == 1, "the mutant must change one place"
    mutant = types.ModuleType(real.__name__)
    monkeypatch.setitem(sys.modules, real.__name__, mutant)
    exec(compile(source.replace(old, new), real.__name__, "exec"), vars(mutant))  # noqa: S102  our own source
    for name, value in list(space.items()):
        if value is real:
            monkeypatch.setitem(space, name, mutant)
        elif not name.startswith("__") and value is getattr(real, name, KILLER):
            monkeypatch.setitem(space, name, getattr(mutant, name))
    return any(_fails(vector) for vector in _vectors(space))


def _vectors(space: dict[str, Any]) -> Iterator[Callable[[], None]]:
    for name, test in list(space.items()):
        if not name.startswith("test_") or name == KILLER or hasattr(test, "hypothesis"):
            continue
        marks = getattr(test, "pytestmark", [])
        several = bool(marks) and not isinstance(marks[0].args[0], str)
        for row in marks[0].args[1] if marks else [()]:
            values = row if several or not marks else (row,)
            yield functools.partial(test, *values)


def _fails(vector: Callable[[], None]) -> bool:
    try:
        vector()
    except (Exception, pytest.fail.Exception):  # noqa: BLE001  however a mutant dies
        return True
    return False
