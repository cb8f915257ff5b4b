-- The outbox: one row for each event, written by the database itself in the transaction of the
-- change, whatever part of the program made it. Nothing personal: ids, kinds, amounts and states.

-- What the events of the running change have in common; the program writes it before the change.
CREATE TABLE outbox_state (
  id          INTEGER PRIMARY KEY CHECK (id = 1),
  now_ms      INTEGER,                           -- null: nobody said; the machine's own time
  traceparent TEXT,
  folded      INTEGER NOT NULL DEFAULT 0         -- events up to this one are in event_tallies
) STRICT;
INSERT INTO outbox_state (id) VALUES (1);

CREATE TABLE outbox (
  seq         INTEGER PRIMARY KEY,               -- the newest row is never deleted: seq only rises
  salt        INTEGER NOT NULL DEFAULT (random()),  -- with seq the id: another after a restore
  type        TEXT    NOT NULL,
  subject     TEXT    NOT NULL,
  kind        TEXT,                              -- with type and currency, what is counted apart
  amount      INTEGER,
  currency    TEXT,
  data        TEXT    NOT NULL,
  traceparent TEXT,
  created_at  INTEGER NOT NULL
) STRICT;

-- How many events of each kind there have ever been, in sums that rows are folded into.
CREATE TABLE event_tallies (
  type     TEXT    NOT NULL,
  kind     TEXT    NOT NULL,
  currency TEXT    NOT NULL,
  events   INTEGER NOT NULL,
  amount   REAL    NOT NULL,                     -- of any size; exact up to 2**53
  PRIMARY KEY (type, kind, currency)
) STRICT, WITHOUT ROWID;

-- Who works through the outbox, and how far.
CREATE TABLE outbox_consumers (
  name TEXT PRIMARY KEY,
  seq  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every 256th event: count what is new, then forget what is too old or too much (config.EVENTS_*).
CREATE TRIGGER outbox_fold AFTER INSERT ON outbox WHEN NEW.seq % 256 = 0
BEGIN
  INSERT INTO event_tallies
    SELECT type, coalesce(kind, ''), coalesce(currency, ''), count(*), total(amount) FROM outbox
    WHERE seq > (SELECT folded FROM outbox_state) AND seq <= NEW.seq GROUP BY 1, 2, 3
    ON CONFLICT DO UPDATE SET events = events + excluded.events, amount = amount + excluded.amount;
  UPDATE outbox_state SET folded = NEW.seq;
END;
CREATE TRIGGER outbox_forget AFTER INSERT ON outbox
WHEN NEW.seq % 256 = 0 AND (SELECT min(seq) FROM outbox) < NEW.seq AND (
  (SELECT created_at FROM outbox ORDER BY seq LIMIT 1) < NEW.created_at - 604800000
  OR (SELECT min(seq) FROM outbox) <= NEW.seq - 5000000)
BEGIN
  DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox ORDER BY seq LIMIT 512)
    AND seq < NEW.seq AND seq <= (SELECT folded FROM outbox_state)
    AND (created_at < NEW.created_at - 604800000 OR seq <= NEW.seq - 5000000);
END;

-- The ledger ---------------------------------------------------------------------------------

CREATE TRIGGER outbox_transaction AFTER INSERT ON transactions
BEGIN
  INSERT INTO outbox (type, subject, kind, amount, currency, data, traceparent, created_at)
    SELECT CASE NEW.phase WHEN 'post' THEN 'alluse.transaction.posted'
                          ELSE 'alluse.transaction.held' END,
           NEW.id, NEW.kind, NEW.amount, NEW.currency,
           '{"from_account_id":' || coalesce('"' || NEW.from_account_id || '"', 'null')
             || ',"to_account_id":' || coalesce('"' || NEW.to_account_id || '"', 'null')
             || ',"transaction_seq":' || NEW.seq || '}',
           traceparent, NEW.recorded_at FROM outbox_state;
END;
CREATE TRIGGER outbox_closing AFTER INSERT ON closings
BEGIN
  INSERT INTO outbox (type, subject, kind, amount, currency, data, traceparent, created_at)
    SELECT CASE NEW.outcome WHEN 'settle' THEN 'alluse.transaction.settled'
                            WHEN 'void' THEN 'alluse.transaction.voided'
                            ELSE 'alluse.transaction.expired' END,
           t.id, t.kind, CASE NEW.outcome WHEN 'settle' THEN NEW.amount ELSE t.amount END,
           t.currency,
           '{"from_account_id":' || coalesce('"' || t.from_account_id || '"', 'null')
             || ',"to_account_id":' || coalesce('"' || t.to_account_id || '"', 'null')
             || ',"transaction_seq":' || t.seq || '}',
           s.traceparent, NEW.closed_at FROM transactions t, outbox_state s
    WHERE t.seq = NEW.hold_seq;
END;
CREATE TRIGGER outbox_account_opened AFTER INSERT ON accounts
BEGIN
  INSERT INTO outbox (type, subject, kind, currency, data, traceparent, created_at)
    SELECT 'alluse.account.opened', NEW.id, NEW.type, NEW.currency,
           '{"account_id":"' || NEW.id || '"'
             || ',"parent_id":' || coalesce('"' || NEW.parent_id || '"', 'null')
             || ',"root_id":"' || NEW.root_id || '"' || '}',
           traceparent, NEW.created_at FROM outbox_state;
END;
CREATE TRIGGER outbox_account_changed AFTER UPDATE OF version ON accounts
WHEN NEW.version <> OLD.version
BEGIN
  INSERT INTO outbox (type, subject, kind, currency, data, traceparent, created_at)
    SELECT CASE WHEN NEW.status = OLD.status THEN 'alluse.account.updated'
                WHEN NEW.status = 'active' THEN 'alluse.account.reactivated'
                ELSE 'alluse.account.' || NEW.status END,
           NEW.id, OLD.status, NEW.currency,
           '{"account_id":"' || NEW.id || '"'
             || ',"version":' || NEW.version
             || ',"merged_into_id":' || coalesce('"' || NEW.merged_into_id || '"', 'null') || '}',
           traceparent,
           coalesce(now_ms, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
    FROM outbox_state;
END;

-- Growth -------------------------------------------------------------------------------------

CREATE TRIGGER outbox_growth AFTER INSERT ON growth_events
BEGIN
  INSERT INTO outbox (type, subject, kind, amount, currency, data, traceparent, created_at)
    SELECT CASE NEW.kind WHEN 'fork' THEN 'alluse.growth.forked'
                         WHEN 'merge' THEN 'alluse.growth.merged'
                         ELSE 'alluse.growth.reinvested' END,
           NEW.id, NEW.mode, NEW.amount, NEW.currency,
           '{"account_id":"' || NEW.account_id || '"'
             || ',"policy_ref":"' || NEW.policy_ref || '"'
             || ',"legs":' || NEW.legs
             || ',"transaction_seq":' || NEW.seq || '}',
           traceparent, NEW.created_at FROM outbox_state;
END;
CREATE TRIGGER outbox_system AFTER INSERT ON systems
BEGIN
  INSERT INTO outbox (type, subject, data, traceparent, created_at)
    SELECT 'alluse.growth.system_opened', NEW.id,
           '{"policy_ref":"' || NEW.policy_ref || '"'
             || ',"transaction_seq":' || NEW.seq || '}',
           traceparent, NEW.created_at FROM outbox_state;
END;
CREATE TRIGGER outbox_policy AFTER UPDATE ON growth_in_force
BEGIN
  INSERT INTO outbox (type, subject, kind, data, traceparent, created_at)
    SELECT 'alluse.growth.policy_changed', NEW.policy_ref, NEW.account_type,
           '{"policy_ref":"' || NEW.policy_ref || '"'
             || ',"version":' || NEW.version || '}',
           traceparent, NEW.updated_at FROM outbox_state;
END;

-- People -------------------------------------------------------------------------------------

CREATE TRIGGER outbox_user_created AFTER INSERT ON users
BEGIN
  INSERT INTO outbox (type, subject, data, traceparent, created_at)
    SELECT 'alluse.user.created', NEW.id,
           '{"user_id":"' || NEW.id || '"'
             || ',"status":"' || NEW.status || '"'
             || ',"version":' || NEW.version || '}',
           traceparent, NEW.created_at FROM outbox_state;
END;
-- Only erasure changes a user name.
CREATE TRIGGER outbox_user_changed AFTER UPDATE OF version ON users WHEN NEW.version <> OLD.version
BEGIN
  INSERT INTO outbox (type, subject, kind, data, traceparent, created_at)
    SELECT CASE WHEN NEW.username <> OLD.username THEN 'alluse.user.erased'
                ELSE 'alluse.user.updated' END,
           NEW.id, OLD.status,
           '{"user_id":"' || NEW.id || '"'
             || ',"status":"' || NEW.status || '"'
             || ',"version":' || NEW.version || '}',
           traceparent,
           coalesce(now_ms, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
    FROM outbox_state;
END;
CREATE TRIGGER outbox_password AFTER UPDATE OF changed_at ON credentials
BEGIN
  INSERT INTO outbox (type, subject, data, traceparent, created_at)
    SELECT 'alluse.user.password_changed', NEW.user_id, '{"user_id":"' || NEW.user_id || '"' || '}',
           traceparent, NEW.changed_at FROM outbox_state;
END;
CREATE TRIGGER outbox_session_started AFTER INSERT ON sessions
BEGIN
  INSERT INTO outbox (type, subject, data, traceparent, created_at)
    SELECT 'alluse.session.started', NEW.user_id, '{"user_id":"' || NEW.user_id || '"' || '}',
           traceparent, NEW.created_at FROM outbox_state;
END;
CREATE TRIGGER outbox_session_ended AFTER UPDATE OF ended_at ON sessions
WHEN OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL
BEGIN
  INSERT INTO outbox (type, subject, kind, data, traceparent, created_at)
    SELECT 'alluse.session.ended', NEW.user_id, NEW.ended_by, '{"user_id":"' || NEW.user_id || '"' || '}',
           traceparent, NEW.ended_at FROM outbox_state;
END;
CREATE TRIGGER outbox_grant_given AFTER INSERT ON grants
BEGIN
  INSERT INTO outbox (type, subject, kind, data, traceparent, created_at)
    SELECT 'alluse.grant.given', NEW.id, NEW.effect,
           '{"user_id":"' || NEW.principal_id || '"'
             || ',"scope":"' || NEW.scope || '"'
             || ',"account_id":' || coalesce('"' || NEW.object_id || '"', 'null') || '}',
           traceparent, NEW.created_at FROM outbox_state;
END;
CREATE TRIGGER outbox_grant_ended AFTER DELETE ON grants
BEGIN
  INSERT INTO outbox (type, subject, kind, data, traceparent, created_at)
    SELECT 'alluse.grant.ended', OLD.id, OLD.effect,
           '{"user_id":"' || OLD.principal_id || '"'
             || ',"scope":"' || OLD.scope || '"'
             || ',"account_id":' || coalesce('"' || OLD.object_id || '"', 'null') || '}',
           traceparent,
           coalesce(now_ms, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
    FROM outbox_state;
END;
