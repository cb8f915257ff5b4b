-- Who gets events delivered, how far each one has come, and what it did not take.

CREATE TABLE webhooks (
  seq          INTEGER PRIMARY KEY,
  id           TEXT    NOT NULL UNIQUE,
  url          TEXT    NOT NULL,
  event_types  TEXT    NOT NULL CHECK (event_types LIKE '[%]'),
  description  TEXT,
  status       TEXT    NOT NULL CHECK (status IN ('active', 'disabled')),
  reason       TEXT,                             -- why it is disabled
  secret       BLOB    NOT NULL,                 -- encrypted, like the one before it
  old_secret   BLOB,                             -- signs as well until old_until
  old_until    INTEGER,
  version      INTEGER NOT NULL DEFAULT 1,
  created_at   INTEGER NOT NULL,
  created_by   TEXT    NOT NULL REFERENCES users (id),
  CHECK ((reason IS NOT NULL) = (status = 'disabled')),
  CHECK ((old_secret IS NULL) = (old_until IS NULL))
) STRICT;

-- One row for each subscriber: a webhook by its id, or 'notification'. How far it has come stands
-- in outbox_consumers: everything up to there was taken, is not for it, or stands below.
CREATE TABLE delivery_states (
  consumer     TEXT PRIMARY KEY,
  taken        INTEGER NOT NULL DEFAULT 0,       -- events
  set_aside    INTEGER NOT NULL DEFAULT 0,
  missed       INTEGER NOT NULL DEFAULT 0,       -- forgotten before they could be delivered
  failures     INTEGER NOT NULL DEFAULT 0,       -- attempts
  in_a_row     INTEGER NOT NULL DEFAULT 0,       -- of these, since something was taken
  paused_until INTEGER,
  last_taken   INTEGER,                          -- instants
  last_failure INTEGER,
  last_error   TEXT
) STRICT, WITHOUT ROWID;

-- Events that wait for another attempt, or behind one of the same account that does.
CREATE TABLE delivery_waiting (
  consumer  TEXT    NOT NULL,
  seq       INTEGER NOT NULL,
  attempts  INTEGER NOT NULL,                    -- 0: only behind another one
  next_at   INTEGER NOT NULL,
  failed_at INTEGER,                             -- the first time
  PRIMARY KEY (consumer, seq)
) STRICT, WITHOUT ROWID;

-- Events that were given up; the newest of each subscriber.
CREATE TABLE delivery_set_aside (
  consumer TEXT    NOT NULL,
  seq      INTEGER NOT NULL,
  event_id TEXT    NOT NULL,
  attempts INTEGER NOT NULL,
  reason   TEXT    NOT NULL,
  at       INTEGER NOT NULL,
  PRIMARY KEY (consumer, seq)
) STRICT, WITHOUT ROWID;

-- What became of the push of a report.
CREATE TABLE report_pushes (
  report_id TEXT PRIMARY KEY REFERENCES reports (id) ON DELETE CASCADE,
  status    TEXT    NOT NULL CHECK (status IN ('pending', 'pushed', 'failed')),
  attempts  INTEGER NOT NULL,
  next_at   INTEGER NOT NULL,
  remote_id TEXT,
  error     TEXT,
  pushed_at INTEGER,
  CHECK ((pushed_at IS NOT NULL) = (status = 'pushed'))
) STRICT, WITHOUT ROWID;

-- A webhook that has ended leaves nothing behind.
CREATE TRIGGER webhooks_ended AFTER DELETE ON webhooks
BEGIN
  DELETE FROM outbox_consumers WHERE name = OLD.id;
  DELETE FROM delivery_states WHERE consumer = OLD.id;
  DELETE FROM delivery_waiting WHERE consumer = OLD.id;
  DELETE FROM delivery_set_aside WHERE consumer = OLD.id;
END;
