"""The job that judges the rules: sample all metrics, see what holds, write what changes."""

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence

from prometheus_client.core import Metric

from reference_impl import background, metrics_scrape, outbox, runtime_dir, web

from . import judge, looks, store
from .history import Samples
from .machine import Fire, Machine, Tell
from .rules import RULES, interval_s

JOB = "alerts"
RISE_MAX_S = 120.0
"""A pause that is longer than this, than ten intervals and than a change of workers is a gap."""
CHANGE_S = background.LEASE_MS / 1000
"""Until a worker that ended has a successor; also where all other times are scaled."""
_log = logging.getLogger(__name__)


def scrape(shared: web.Services) -> Samples:
    """Return what a reader of the metrics would see now."""
    return by_name(list(metrics_scrape.Everything(shared).collect()))


def by_name(families: Sequence[Metric]) -> Samples:
    """Return samples by their exposed names."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
    for family in families:
        for sample in family.samples:
            found[sample.name].append((sample.labels, sample.value))
    return found


class Evaluator:
    """Judges the rules in the worker that owns them."""

    def __init__(self, shared: web.Services) -> None:
        """Begin without a history; the first look takes up that of another worker."""
        self._shared = shared
        self._looks = looks.Looks(runtime_dir.current())
        self.scale = shared.settings.alert_scale
        self.history = judge.history(self.scale)
        self.machine = Machine(rules=RULES, scale=self.scale)

    def step(self) -> None:
        """Look once."""
        now_ms = self._shared.clock.now_ms()
        self.look(now_ms, scrape(self._shared))

    def look(self, now_ms: int, samples: Samples) -> Sequence[Fire | Tell]:
        """Judge the rules with one more scrape; return what was written."""
        now_s, every_s = now_ms / 1000, interval_s(self.scale)
        if self._looks.changed():
            self._take_up()
        gap_s = now_s - self.history.now_s
        longest_s = max(RISE_MAX_S / self.scale, 10 * every_s) + CHANGE_S
        if self.history.now_s and not 0 <= gap_s <= longest_s:
            # Nobody judged for long, or the clock jumped: nothing is known of the gap.
            self.history, self.machine.pending = judge.history(self.scale), {}
            self._looks.begin_anew()
        seen = self.history.add(now_s, samples)
        try:
            return self._judge(now_ms)
        finally:
            self._looks.add(looks.line(now_s, seen, self.machine.pending), self.history.keep_s)

    def _take_up(self) -> None:
        """Go on from what another worker saw."""
        self.history, self.machine.pending = judge.history(self.scale), {}
        for line in self._looks.read():
            self.history.put(line.at, [None if sums is None else dict(sums) for sums in line.seen])
            self.machine.pending = {(name, labels): at for name, labels, at in line.pending}

    def _judge(self, now_ms: int) -> Sequence[Fire | Tell]:
        """Write what changes by what is known now."""
        holding = judge.holding(self.history, self.scale)
        connection = self._shared.readers.get()
        standing = store.standing(connection)
        silences = store.silences(connection, now_ms)
        waiting = dict(self.machine.pending)
        changes = self.machine.step(now_ms, holding, standing, silences)
        if changes:
            try:
                self._write(now_ms, changes)
            except Exception:
                self.machine.pending |= waiting  # what was ripe is so again at the next look
                raise
        return changes

    def _write(self, now_ms: int, changes: Sequence[Fire | Tell]) -> None:
        shared = self._shared

        def run(connection: sqlite3.Connection) -> None:
            background.check_owner(connection, JOB, shared)
            outbox.begin(connection, now_ms, "")
            store.write(connection, changes, now_ms)
            store.forget(connection)

        shared.writer.submit(run)
        for change in changes:
            _log.info("alert: %s", change)


def install(jobs: background.Background, shared: web.Services) -> Evaluator | None:
    """Judge the rules in one worker, if metrics are counted at all."""
    if not shared.settings.metrics:
        return None
    evaluator = Evaluator(shared)
    jobs.run_when_owner(JOB, interval_s(evaluator.scale), evaluator.step)
    return evaluator
