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

-- Which strategy an account follows. While `changing_until` lies ahead a change is at the strategy
-- engine; `in_doubt` means that the engine may know another one, and is told again.
CREATE TABLE strategies (
  account_id     TEXT PRIMARY KEY REFERENCES accounts (id),
  name           TEXT NOT NULL,
  parameters     TEXT NOT NULL,
  version        INTEGER NOT NULL CHECK (version >= 0),
  updated_at     INTEGER NOT NULL,
  changing_until INTEGER NOT NULL,
  in_doubt       INTEGER NOT NULL CHECK (in_doubt IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX strategies_in_doubt ON strategies (changing_until) WHERE in_doubt;

-- Executions that were asked for; `due_at` says when the engine is asked again.
CREATE TABLE strategy_executions (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  id          TEXT NOT NULL UNIQUE,
  account_id  TEXT NOT NULL REFERENCES accounts (id),
  strategy    TEXT NOT NULL,
  parameters  TEXT NOT NULL,
  available   INTEGER NOT NULL CHECK (available >= 0),
  currency    TEXT NOT NULL,
  status      TEXT NOT NULL CHECK (status IN ('requested', 'running', 'done', 'failed')),
  engine_id   TEXT,
  attempts    INTEGER NOT NULL DEFAULT 0,
  due_at      INTEGER,
  traceparent TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  created_by  TEXT NOT NULL,
  ended_at    INTEGER,
  failure     TEXT,
  CHECK ((ended_at IS NULL) = (status IN ('requested', 'running'))),
  CHECK ((due_at IS NULL) = (ended_at IS NOT NULL))
) STRICT;
CREATE INDEX strategy_executions_due ON strategy_executions (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX strategy_executions_of_account ON strategy_executions (account_id);
-- All but the parameters, which an erasure empties.
CREATE TRIGGER strategy_executions_end_once
BEFORE UPDATE OF seq, id, account_id, strategy, available, currency, status, engine_id, attempts,
  due_at, created_at, created_by, ended_at, failure ON strategy_executions
WHEN OLD.ended_at IS NOT NULL
BEGIN SELECT raise(ABORT, 'strategy execution: it has ended'); END;

-- What executions brought, each result once.
CREATE TABLE strategy_results (
  seq            INTEGER PRIMARY KEY AUTOINCREMENT,
  id             TEXT NOT NULL,
  execution_id   TEXT NOT NULL REFERENCES strategy_executions (id),
  account_id     TEXT NOT NULL,
  kind           TEXT NOT NULL CHECK (kind IN ('premium', 'assignment')),
  amount         INTEGER NOT NULL CHECK (amount > 0),
  currency       TEXT NOT NULL,
  instrument     TEXT,
  quantity       INTEGER,
  transaction_id TEXT,
  refusal        TEXT,
  created_at     INTEGER NOT NULL,
  UNIQUE (account_id, id),
  CHECK ((transaction_id IS NULL) = (refusal IS NOT NULL))
) STRICT;
CREATE INDEX strategy_results_of_account ON strategy_results (account_id, seq);
CREATE INDEX strategy_results_of_execution ON strategy_results (execution_id);
CREATE TRIGGER strategy_results_no_update BEFORE UPDATE ON strategy_results
BEGIN SELECT raise(ABORT, 'strategy result: it is booked'); END;
CREATE TRIGGER strategy_results_no_delete BEFORE DELETE ON strategy_results
BEGIN SELECT raise(ABORT, 'strategy result: it is booked'); END;

-- The keys of user management as last fetched.
CREATE TABLE identity_keys (
  issuer   TEXT PRIMARY KEY,
  document TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Which user a person of user management is.
CREATE TABLE identities (
  issuer     TEXT NOT NULL,
  subject    TEXT NOT NULL,
  user_id    TEXT NOT NULL REFERENCES users (id),
  created_at INTEGER NOT NULL,
  PRIMARY KEY (issuer, subject),
  UNIQUE (issuer, user_id)
) STRICT, WITHOUT ROWID;

-- Identity tokens that were exchanged, by digest, until they expire.
CREATE TABLE identity_tokens (
  jti_hash   BLOB PRIMARY KEY CHECK (length(jti_hash) = 32),
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX identity_tokens_expiry ON identity_tokens (expires_at);
