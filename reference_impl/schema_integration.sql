-- Integration: the circuit breakers that the workers share, and how they have changed.

CREATE TABLE breakers (
  name            TEXT PRIMARY KEY,
  state           TEXT NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
  since_ms        INTEGER NOT NULL,
  standing        TEXT NOT NULL,
  last_success_ms INTEGER,
  last_failure_ms INTEGER,
  last_error      TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

-- The last changes of state; what fell back to closed has healed.
CREATE TABLE breaker_changes (
  seq    INTEGER PRIMARY KEY AUTOINCREMENT,
  name   TEXT NOT NULL,
  before TEXT NOT NULL,
  after  TEXT NOT NULL,
  at_ms  INTEGER NOT NULL,
  reason TEXT NOT NULL
) STRICT;
