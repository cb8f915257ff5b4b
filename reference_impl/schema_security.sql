-- What guards the way in: former passwords, second factors, failed logins.

CREATE TABLE password_history (                  -- hashes of former passwords, newest last
  seq           INTEGER PRIMARY KEY,
  user_id       TEXT    NOT NULL REFERENCES users (id),
  password_hash TEXT    NOT NULL,
  replaced_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX password_history_by_user ON password_history (user_id, seq);

CREATE TABLE totp (
  user_id      TEXT PRIMARY KEY REFERENCES users (id),
  secret       BLOB    NOT NULL,                 -- encrypted, as users.email
  confirmed_at INTEGER,                          -- null until a first code has proved it
  last_step    INTEGER NOT NULL DEFAULT 0        -- of the last code that was taken
) STRICT, WITHOUT ROWID;
CREATE TRIGGER totp_steps_rise BEFORE UPDATE OF last_step ON totp
WHEN NEW.last_step <= OLD.last_step AND NEW.secret = OLD.secret
BEGIN SELECT raise(ABORT, 'totp: a code works once'); END;

CREATE TABLE mfa_challenges (
  digest     BLOB PRIMARY KEY,                   -- of the token that the client holds
  user_id    TEXT    NOT NULL REFERENCES users (id),
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  attempts   INTEGER NOT NULL DEFAULT 0,
  used_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX mfa_challenges_by_expiry ON mfa_challenges (expires_at);

CREATE TABLE login_failures (                    -- in a row; a success deletes them
  name         BLOB    NOT NULL,                 -- keyed digest of the user name
  source       TEXT    NOT NULL,                 -- network address, '*' for all together
  failures     INTEGER NOT NULL CHECK (failures > 0),
  last_at      INTEGER NOT NULL,
  locked_until INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (name, source)
) STRICT, WITHOUT ROWID;
CREATE INDEX login_failures_by_age ON login_failures (last_at);

-- Events of the second factor and of lock-outs (schema_outbox.sql); of whom a lock-out is, is not told.
CREATE TRIGGER outbox_mfa_enabled AFTER UPDATE OF confirmed_at ON totp
WHEN OLD.confirmed_at IS NULL AND NEW.confirmed_at IS NOT NULL
BEGIN
  INSERT INTO outbox (type, subject, data, traceparent, created_at)
    SELECT 'alluse.mfa.enabled', NEW.user_id, '{"user_id":"' || NEW.user_id || '"' || '}',
           traceparent, NEW.confirmed_at FROM outbox_state;
END;
CREATE TRIGGER outbox_mfa_disabled AFTER DELETE ON totp WHEN OLD.confirmed_at IS NOT NULL
BEGIN
  INSERT INTO outbox (type, subject, data, traceparent, created_at)
    SELECT 'alluse.mfa.disabled', OLD.user_id, '{"user_id":"' || OLD.user_id || '"' || '}', traceparent,
           coalesce(now_ms, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
    FROM outbox_state;
END;
CREATE TRIGGER outbox_locked_out AFTER UPDATE OF locked_until ON login_failures
WHEN NEW.locked_until > OLD.locked_until
BEGIN
  INSERT INTO outbox (type, subject, data, traceparent, created_at)
    SELECT 'alluse.login.locked', 'login', '{"failures":' || NEW.failures || '}', traceparent,
           NEW.last_at FROM outbox_state;
END;
