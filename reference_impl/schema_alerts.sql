-- Alerts that have fired, who is not to be told for a while, and what was told to whom.
CREATE TABLE alerts (
  seq             INTEGER PRIMARY KEY AUTOINCREMENT,
  id              TEXT    NOT NULL UNIQUE,
  name            TEXT    NOT NULL,
  labels          TEXT    NOT NULL,               -- JSON object, sorted; alertname and severity too
  severity        TEXT    NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
  value           REAL    NOT NULL,
  status          TEXT    NOT NULL CHECK (status IN ('firing', 'acknowledged', 'resolved')),
  pending_at      INTEGER NOT NULL,
  started_at      INTEGER NOT NULL CHECK (started_at >= pending_at),
  ended_at        INTEGER,
  changed_at      INTEGER NOT NULL,
  told            INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1)),
  escalation      INTEGER NOT NULL DEFAULT 0 CHECK (escalation >= 0),
  escalated_at    INTEGER,
  acknowledged_at INTEGER,
  acknowledged_by TEXT,
  note            TEXT,
  CHECK ((ended_at IS NULL) = (status <> 'resolved')),
  CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
) STRICT;
CREATE UNIQUE INDEX alerts_active ON alerts (name, labels) WHERE ended_at IS NULL;
CREATE INDEX alerts_ended ON alerts (seq) WHERE ended_at IS NOT NULL;

CREATE TABLE silences (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  id         TEXT    NOT NULL UNIQUE,
  matchers   TEXT    NOT NULL,                    -- JSON array of name and value
  starts_at  INTEGER NOT NULL,
  ends_at    INTEGER NOT NULL CHECK (ends_at >= starts_at),
  reason     TEXT    NOT NULL,
  created_by TEXT    NOT NULL
) STRICT;
CREATE INDEX silences_end ON silences (ends_at);

-- What was told: each row becomes an event of the outbox, which takes it to the receivers.
CREATE TABLE alert_notices (
  seq       INTEGER PRIMARY KEY AUTOINCREMENT,
  alert_id  TEXT    NOT NULL REFERENCES alerts (id),
  kind      TEXT    NOT NULL CHECK (kind IN ('firing', 'escalated', 'acknowledged', 'resolved')),
  receivers TEXT    NOT NULL,                     -- JSON array
  at        INTEGER NOT NULL
) STRICT;
CREATE INDEX alert_notices_alert ON alert_notices (alert_id, seq);
CREATE TRIGGER outbox_alert AFTER INSERT ON alert_notices
BEGIN
  INSERT INTO outbox (type, subject, kind, data, traceparent, created_at)
    SELECT CASE NEW.kind WHEN 'firing' THEN 'alluse.alert.firing'
                         WHEN 'escalated' THEN 'alluse.alert.escalated'
                         WHEN 'acknowledged' THEN 'alluse.alert.acknowledged'
                         ELSE 'alluse.alert.resolved' END,
           a.id,
           CASE WHEN NEW.kind NOT IN ('acknowledged', 'resolved') THEN NULL  -- no change of the state
                WHEN NEW.kind = 'resolved' AND a.acknowledged_at IS NOT NULL THEN 'acknowledged'
                ELSE 'firing' END,                        -- the state before
           '{"alert":"' || a.name || '","labels":' || a.labels || ',"receivers":' || NEW.receivers
             || ',"status":"' || a.status || '"}',
           s.traceparent, NEW.at FROM alerts a, outbox_state s WHERE a.id = NEW.alert_id;
END;

-- What healed itself.
CREATE TABLE recoveries (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  component  TEXT    NOT NULL,
  action     TEXT    NOT NULL,
  cause      TEXT    NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at   INTEGER NOT NULL CHECK (ended_at >= started_at)
) STRICT;
-- How far a source of recoveries was read.
CREATE TABLE recovery_marks (
  source TEXT    PRIMARY KEY,
  seq    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
