"""The reference behind a layer that misbehaves in one way, which `TOY_MISBEHAVIOUR` names.

Started as `python -m tests.toys.misbehaves init|serve ...` with the options of the reference's
command. What is broken is only what the layer breaks: a check that accuses anything else is wrong.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

FACTORY = "tests.toys.misbehaves:application"
VARIABLE = "TOY_MISBEHAVIOUR"
DICE = random.SystemRandom()
SLOW_S = 0.25
JITTER_S_MAX = 0.02
REFUSED_SHARE = 0.01
REQUESTS_IN_ORDER = 40
"""Of a worker, before it refuses any: the runner must get to know the deployment first."""
PAGE_BYTES = 10 * 1024 * 1024
REQUESTS_BEFORE_DEATH = 400

Environ = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the reference, before it goes out."""

    status: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def document(self) -> Any:
        """The JSON body; None where it is not JSON."""
        described = "json" in self.headers.get("Content-Type", "")
        return json.loads(self.content) if described and self.content else None

    def saying(self, document: Any) -> Answer:
        """Return the answer with another JSON body."""
        return replace(self, content=json.dumps(document).encode())


Misbehaviour = Callable[[Environ, Callable[[], Answer]], Answer]


def slow(_environ: Environ, ask: Callable[[], Answer]) -> Answer:
    """Answer rightly, late."""
    time.sleep(SLOW_S)
    return ask()


def out_of_order(_environ: Environ, ask: Callable[[], Answer]) -> Answer:
    """Let a later request overtake an earlier one, both before and after its effect."""
    time.sleep(DICE.uniform(0, JITTER_S_MAX))
    answer = ask()
    time.sleep(DICE.uniform(0, JITTER_S_MAX))
    return answer


def busy_at_times(_environ: Environ, ask: Callable[[], Answer]) -> Answer:
    """Refuse one request in a hundred as the contract lets a busy deployment do."""
    MEMORY.asked += 1
    if MEMORY.asked < REQUESTS_IN_ORDER or DICE.random() >= REFUSED_SHARE:
        return ask()
    problem = {
        "type": "urn:alluse:problem:busy",
        "title": "Come back later",
        "status": 503,
        "code": "busy",
        "retryable": True,
    }
    headers = {"Content-Type": "application/problem+json", "Retry-After": "0"}
    return Answer("503 Service Unavailable", headers, json.dumps(problem).encode())


def breaks_at_times(_environ: Environ, ask: Callable[[], Answer]) -> Answer:
    """Answer one request in a hundred as a proxy does whose upstream is gone."""
    MEMORY.asked += 1
    if MEMORY.asked < REQUESTS_IN_ORDER or DICE.random() >= REFUSED_SHARE:
        return ask()
    return Answer("503 Service Unavailable", {"Content-Type": "text/html"}, b"<h1>no upstream</h1>")


def lies_in_the_capability_document(environ: Environ, ask: Callable[[], Answer]) -> Answer:
    """Declare a currency that no account can have, and bodies larger than those that are taken."""
    answer = ask()
    document = answer.document
    if environ["PATH_INFO"] != "/.well-known/alluse" or "currencies" not in (document or {}):
        return answer
    document["currencies"].append({"code": "XTS", "exponent": 2})
    document["limits"]["body_bytes_max"] *= 8
    return answer.saying(document)


def hides_an_operation(environ: Environ, ask: Callable[[], Answer]) -> Answer:
    """Know nothing of `getTransaction`, which the core has."""
    parts = environ["PATH_INFO"].split("/")
    if environ["REQUEST_METHOD"] == "GET" and parts[:3] == ["", "v1", "transactions"]:
        environ["PATH_INFO"] = "/v1/nothing-here" if len(parts) == 4 else environ["PATH_INFO"]
    return ask()


def renames_a_field(_environ: Environ, ask: Callable[[], Answer]) -> Answer:
    """Call `available` another name everywhere."""
    answer = ask()
    if answer.document is None:
        return answer
    return replace(answer, content=answer.content.replace(b'"available"', b'"disposable"'))


def huge_pages(_environ: Environ, ask: Callable[[], Answer]) -> Answer:
    """Pad each page of a list to 10 MB, with a member that the contract does not know."""
    answer = ask()
    document = answer.document
    if not isinstance(document, dict) or "next_cursor" not in document:
        return answer
    return answer.saying({**document, "padding": "x" * PAGE_BYTES})


@dataclass(slots=True)
class Memory:
    """What one worker process remembers of the requests before."""

    asked: int = 0
    cursor: str | None = None


MEMORY = Memory()


def cycles_cursors(_environ: Environ, ask: Callable[[], Answer]) -> Answer:
    """Lead every last page of a list back to where the client came from."""
    answer = ask()
    document = answer.document
    if not isinstance(document, dict) or "next_cursor" not in document:
        return answer
    MEMORY.cursor = document["next_cursor"] or MEMORY.cursor
    return answer.saying({**document, "next_cursor": MEMORY.cursor})


def crashes(_environ: Environ, ask: Callable[[], Answer]) -> Answer:
    """Lose a worker process after every so many requests; the supervisor starts another."""
    MEMORY.asked += 1
    if MEMORY.asked > REQUESTS_BEFORE_DEATH:
        os.kill(os.getpid(), signal.SIGKILL)
    return ask()


def dies(_environ: Environ, ask: Callable[[], Answer]) -> Answer:
    """Vanish with every process of the deployment after a number of requests."""
    MEMORY.asked += 1
    if MEMORY.asked > REQUESTS_BEFORE_DEATH:
        everybody = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
        session = [pid for pid in everybody if _session(pid) == os.getsid(0)]
        for pid in sorted(session, key=os.getpid().__eq__):
            os.kill(pid, signal.SIGKILL)
    return ask()


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


MISBEHAVIOURS: Mapping[str, Misbehaviour] = {
    one.__name__: one
    for one in (
        slow,
        out_of_order,
        busy_at_times,
        breaks_at_times,
        lies_in_the_capability_document,
        hides_an_operation,
        renames_a_field,
        huge_pages,
        cycles_cursors,
        crashes,
        dies,
    )
}


class Misbehaving:
    """The WSGI application around the reference's."""

    def __init__(self, inner: Callable[..., Iterable[bytes]], misbehaviour: Misbehaviour) -> None:
        """Wrap an application."""
        self._inner = inner
        self._misbehaviour = misbehaviour

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request in the chosen way."""
        answer = self._misbehaviour(environ, functools.partial(self._ask, environ))
        headers = {**answer.headers, "Content-Length": str(len(answer.content))}
        start_response(answer.status, list(headers.items()))
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer.content]

    def _ask(self, environ: Environ) -> Answer:
        told: list[Any] = []
        parts = self._inner(environ, lambda *head, **_: told.extend(head))
        try:
            content = b"".join(parts)
        finally:
            getattr(parts, "close", lambda: None)()
        return Answer(told[0], dict(told[1]), content)


def application() -> Misbehaving:
    """Build the application in a worker."""
    app: Any = importlib.import_module("reference_impl.app")
    return Misbehaving(app.create_app(), MISBEHAVIOURS[os.environ[VARIABLE]])


def main() -> None:
    """Run the reference's command with this application."""
    serving: Any = importlib.import_module("reference_impl.serving")
    command: Any = importlib.import_module("reference_impl.__main__")
    serving.serve = functools.partial(serving.serve, factory=FACTORY)
    command.main(sys.argv[1:])


if __name__ == "__main__":
    main()
