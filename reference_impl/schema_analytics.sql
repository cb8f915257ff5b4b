-- Reports that are built in the background; their rows are files beside the database.

CREATE TABLE reports (
  seq          INTEGER PRIMARY KEY,
  id           TEXT    NOT NULL UNIQUE,
  report       TEXT    NOT NULL CHECK (report IN ('portfolio', 'entries')),
  owner_id     TEXT    NOT NULL REFERENCES users (id),   -- of every account in it
  account_id   TEXT REFERENCES accounts (id),
  system_id    TEXT REFERENCES systems (id),
  start_ms     INTEGER,                          -- the window, half-open; null: no lower end
  end_ms       INTEGER NOT NULL,
  as_of_seq    INTEGER NOT NULL,                 -- the newest line of the book that counts
  as_of_line   INTEGER NOT NULL,
  accounts     TEXT CHECK (accounts LIKE '[%]'), -- their ids; null: all of the owner's
  last_account INTEGER NOT NULL,                 -- but none that was opened after this seq,
  excluded     TEXT    NOT NULL CHECK (excluded LIKE '[%]'),  -- and none of these
  status       TEXT    NOT NULL CHECK (status IN ('queued', 'running', 'done', 'failed')),
  attempts     INTEGER NOT NULL DEFAULT 0,
  created_at   INTEGER NOT NULL,
  created_by   TEXT    NOT NULL REFERENCES users (id),
  started_at   INTEGER,
  finished_at  INTEGER,
  expires_at   INTEGER NOT NULL,
  rows         INTEGER,
  csv_bytes    INTEGER,
  csv_sha256   TEXT,
  json_bytes   INTEGER,
  json_sha256  TEXT,
  CHECK (account_id IS NULL OR system_id IS NULL),
  CHECK ((finished_at IS NOT NULL) = (status IN ('done', 'failed'))),
  CHECK ((rows IS NOT NULL AND csv_bytes IS NOT NULL AND csv_sha256 IS NOT NULL
          AND json_bytes IS NOT NULL AND json_sha256 IS NOT NULL) = (status = 'done'))
) STRICT;
CREATE INDEX reports_open ON reports (created_by, seq) WHERE status IN ('queued', 'running');
CREATE INDEX reports_next ON reports (seq) WHERE status IN ('queued', 'running');
CREATE INDEX reports_by_expiry ON reports (expires_at);
CREATE INDEX reports_by_owner ON reports (owner_id);
CREATE TRIGGER reports_fixed
BEFORE UPDATE OF seq, id, report, owner_id, account_id, system_id, start_ms, end_ms, as_of_seq,
  as_of_line, accounts, last_account, excluded, created_at, created_by, expires_at
ON reports
BEGIN SELECT raise(ABORT, 'reports: what was asked for never changes'); END;
CREATE TRIGGER reports_end_once BEFORE UPDATE ON reports
WHEN OLD.status IN ('done', 'failed')
BEGIN SELECT raise(ABORT, 'reports: a report ends once'); END;

-- A name changes in one case only, erasure of the person; reports show names of accounts.
CREATE TRIGGER users_erased_reports AFTER UPDATE OF username ON users
WHEN NEW.username <> OLD.username
BEGIN DELETE FROM reports WHERE owner_id = NEW.id; END;
