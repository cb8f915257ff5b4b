-- Orders at the market, what was executed of them, positions, and their comparison with the market.

-- The row is the intent as well: it is committed with the hold, before the market is asked, and
-- due_at says when the market is asked next. Money is in the journal only; holds and lines there
-- carry the order's id in their metadata.
CREATE TABLE orders (
  seq           INTEGER PRIMARY KEY,
  id            TEXT    NOT NULL UNIQUE,
  account_id    TEXT    NOT NULL REFERENCES accounts (id),
  bucket        TEXT    NOT NULL
                CHECK (bucket IN ('position:contracts', 'position:leaps', 'position:shares')),
  instrument    TEXT    NOT NULL,
  side          TEXT    NOT NULL CHECK (side IN ('buy', 'sell')),
  quantity      INTEGER NOT NULL CHECK (quantity > 0),
  limit_price   INTEGER NOT NULL CHECK (limit_price > 0),
  currency      TEXT    NOT NULL,
  filled        INTEGER NOT NULL DEFAULT 0 CHECK (filled BETWEEN 0 AND quantity),
  status        TEXT    NOT NULL DEFAULT 'pending'
                CHECK (status IN ('pending', 'open', 'partially_filled', 'filled', 'cancelled',
                                  'rejected')),
  reason        TEXT,
  hold_seq      INTEGER UNIQUE REFERENCES holds (seq),  -- keeps the cash of what is not filled
  market_id     TEXT,                            -- the market's own id, once it is known
  last_sequence INTEGER NOT NULL DEFAULT 0,      -- of the execution reports that are in effect
  ending        TEXT CHECK (ending IN ('cancelled', 'rejected')),
  ending_filled INTEGER,                         -- the market ended it with so much filled
  cancel_at     INTEGER,                         -- when somebody asked to cancel it
  attempts      INTEGER NOT NULL DEFAULT 0,      -- questions since the last that was answered
  due_at        INTEGER,                         -- when the market is asked next
  traceparent   TEXT    NOT NULL,
  created_at    INTEGER NOT NULL,
  created_by    TEXT    NOT NULL,
  updated_at    INTEGER NOT NULL,
  CHECK ((ending IS NULL) = (ending_filled IS NULL)),
  CHECK ((status = 'filled') = (filled = quantity)),
  CHECK (status NOT IN ('pending', 'open') OR filled = 0),
  CHECK (status <> 'partially_filled' OR filled > 0),
  CHECK (side = 'buy' OR hold_seq IS NULL),
  CHECK (status NOT IN ('filled', 'cancelled', 'rejected')
         OR (hold_seq IS NULL AND due_at IS NULL)),
  CHECK (side = 'sell' OR status IN ('filled', 'cancelled', 'rejected') OR hold_seq IS NOT NULL)
) STRICT;
CREATE INDEX orders_by_account ON orders (account_id, seq);
CREATE INDEX orders_due ON orders (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX orders_live ON orders (account_id, instrument)
  WHERE status IN ('pending', 'open', 'partially_filled');

CREATE TRIGGER orders_end_once BEFORE UPDATE ON orders
WHEN OLD.status IN ('filled', 'cancelled', 'rejected')
 AND (NEW.status <> OLD.status OR NEW.filled <> OLD.filled OR NEW.hold_seq IS NOT NULL)
BEGIN SELECT raise(ABORT, 'orders: an order ends exactly once'); END;
CREATE TRIGGER orders_fixed
BEFORE UPDATE OF seq, id, account_id, bucket, instrument, side, quantity, limit_price, currency,
  created_at, created_by ON orders
BEGIN SELECT raise(ABORT, 'orders: what was ordered is fixed'); END;
CREATE TRIGGER orders_only_fill BEFORE UPDATE OF filled ON orders
WHEN NEW.filled < OLD.filled OR NEW.filled IS NOT
     (SELECT coalesce(sum(quantity), 0) FROM executions
      WHERE order_seq = NEW.seq AND applied_at IS NOT NULL AND refused IS NULL)
BEGIN SELECT raise(ABORT, 'orders: filled is the sum of the executions'); END;
CREATE TRIGGER orders_release AFTER UPDATE OF hold_seq ON orders
WHEN OLD.hold_seq IS NOT NULL AND NEW.hold_seq IS NOT OLD.hold_seq
 AND (SELECT closed FROM holds WHERE seq = OLD.hold_seq) = 0
BEGIN SELECT raise(ABORT, 'orders: a hold that is let go of is closed'); END;
CREATE TRIGGER orders_no_delete BEFORE DELETE ON orders
BEGIN SELECT raise(ABORT, 'orders: never deleted'); END;

-- One row for each execution report that was taken; its effect is there with applied_at, once.
CREATE TABLE executions (
  id              TEXT PRIMARY KEY,              -- the market's
  order_seq       INTEGER NOT NULL REFERENCES orders (seq),
  sequence        INTEGER NOT NULL CHECK (sequence > 0),
  kind            TEXT    NOT NULL
                  CHECK (kind IN ('fill', 'partial_fill', 'reject', 'cancel', 'market_event')),
  quantity        INTEGER NOT NULL CHECK (quantity >= 0),
  price           INTEGER CHECK (price > 0),
  occurred_at     INTEGER NOT NULL,
  received_at     INTEGER NOT NULL,
  applied_at      INTEGER,                       -- null: one before it is missing
  refused         TEXT,                          -- why it has none although it was taken
  transaction_seq INTEGER REFERENCES transactions (seq),
  UNIQUE (order_seq, sequence),
  CHECK ((kind IN ('fill', 'partial_fill')) = (quantity > 0)),
  CHECK ((quantity > 0) = (price IS NOT NULL)),
  CHECK (refused IS NULL OR applied_at IS NOT NULL),
  CHECK ((transaction_seq IS NOT NULL)
         = (applied_at IS NOT NULL AND quantity > 0 AND refused IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TRIGGER executions_once BEFORE UPDATE ON executions
WHEN OLD.applied_at IS NOT NULL
  OR (NEW.id, NEW.order_seq, NEW.sequence, NEW.kind, NEW.quantity, NEW.price, NEW.occurred_at)
     IS NOT (OLD.id, OLD.order_seq, OLD.sequence, OLD.kind, OLD.quantity, OLD.price,
             OLD.occurred_at)
BEGIN SELECT raise(ABORT, 'executions: an execution has its effect exactly once'); END;
CREATE TRIGGER executions_no_delete BEFORE DELETE ON executions
BEGIN SELECT raise(ABORT, 'executions: never deleted'); END;

-- What was bought through orders, at cost. What a bucket holds besides came by other ways.
CREATE TABLE positions (
  seq        INTEGER PRIMARY KEY,
  account_id TEXT    NOT NULL REFERENCES accounts (id),
  bucket     TEXT    NOT NULL,
  instrument TEXT    NOT NULL,
  quantity   INTEGER NOT NULL CHECK (quantity >= 0),
  cost       INTEGER NOT NULL CHECK (cost >= 0),
  UNIQUE (account_id, bucket, instrument),
  CHECK ((quantity = 0) = (cost = 0))
) STRICT;
CREATE TRIGGER positions_covered AFTER UPDATE ON positions WHEN NEW.cost > OLD.cost
 AND (SELECT sum(cost) FROM positions WHERE account_id = NEW.account_id AND bucket = NEW.bucket)
   > (SELECT balance FROM buckets WHERE account_id = NEW.account_id AND kind = NEW.bucket)
BEGIN SELECT raise(ABORT, 'positions: the bucket covers the cost'); END;
CREATE TRIGGER positions_covered_from_the_start AFTER INSERT ON positions
WHEN (SELECT sum(cost) FROM positions WHERE account_id = NEW.account_id AND bucket = NEW.bucket)
   > (SELECT balance FROM buckets WHERE account_id = NEW.account_id AND kind = NEW.bucket)
BEGIN SELECT raise(ABORT, 'positions: the bucket covers the cost'); END;
CREATE TRIGGER positions_no_delete BEFORE DELETE ON positions
BEGIN SELECT raise(ABORT, 'positions: never deleted'); END;

-- The market keeps what an account holds under this account's id, and under those of the accounts
-- that were merged or swept into it.
CREATE TABLE position_origins (
  account_id TEXT NOT NULL REFERENCES accounts (id),
  origin     TEXT NOT NULL REFERENCES accounts (id),
  PRIMARY KEY (account_id, origin)
) STRICT, WITHOUT ROWID;

-- An account that ends leaves its positions where its buckets went.
CREATE TRIGGER accounts_leave_positions AFTER UPDATE OF status ON accounts
WHEN NEW.status IN ('closed', 'merged')
 AND EXISTS (SELECT 1 FROM positions WHERE account_id = NEW.id)
BEGIN
  INSERT OR IGNORE INTO position_origins
    SELECT target, origin FROM
      (SELECT coalesce(NEW.merged_into_id,
         (SELECT to_account_id FROM transactions WHERE from_account_id = NEW.id AND kind = 'sweep'
          ORDER BY seq DESC LIMIT 1)) AS target),
      (SELECT NEW.id AS origin
       UNION SELECT origin FROM position_origins WHERE account_id = NEW.id)
    WHERE target IS NOT NULL;
  INSERT INTO positions (account_id, bucket, instrument, quantity, cost)
    SELECT coalesce(NEW.merged_into_id,
        (SELECT to_account_id FROM transactions WHERE from_account_id = NEW.id AND kind = 'sweep'
         ORDER BY seq DESC LIMIT 1)),
      bucket, instrument, quantity, cost FROM positions
    WHERE account_id = NEW.id AND quantity > 0
    ON CONFLICT (account_id, bucket, instrument)
    DO UPDATE SET quantity = quantity + excluded.quantity, cost = cost + excluded.cost;
  UPDATE positions SET quantity = 0, cost = 0 WHERE account_id = NEW.id;
END;

-- Positions compared with the market; what differs is listed and nothing is booked.
CREATE TABLE reconciliations (
  seq         INTEGER PRIMARY KEY,
  id          TEXT    NOT NULL UNIQUE,
  account_id  TEXT    NOT NULL REFERENCES accounts (id),
  status      TEXT    NOT NULL DEFAULT 'running'
              CHECK (status IN ('running', 'equal', 'different', 'failed')),
  differences TEXT    NOT NULL DEFAULT '[]' CHECK (differences LIKE '[%]'),
  differing   INTEGER NOT NULL DEFAULT 0,
  reason      TEXT,
  as_of       INTEGER,                           -- the oldest of what the market said
  attempts    INTEGER NOT NULL DEFAULT 0,
  due_at      INTEGER,
  traceparent TEXT    NOT NULL,
  created_at  INTEGER NOT NULL,
  created_by  TEXT    NOT NULL,
  finished_at INTEGER,
  CHECK ((status = 'running') = (finished_at IS NULL)),
  CHECK ((status = 'running') = (due_at IS NOT NULL))
) STRICT;
CREATE INDEX reconciliations_due ON reconciliations (due_at) WHERE due_at IS NOT NULL;
CREATE TRIGGER reconciliations_end_once BEFORE UPDATE ON reconciliations
WHEN OLD.finished_at IS NOT NULL
BEGIN SELECT raise(ABORT, 'reconciliations: a result is never changed'); END;

-- Events -------------------------------------------------------------------------------------

CREATE TRIGGER outbox_order_placed AFTER INSERT ON orders
BEGIN
  INSERT INTO outbox (type, subject, kind, currency, data, traceparent, created_at)
    SELECT 'alluse.order.placed', NEW.id, NEW.side, NEW.currency,
           '{"account_id":"' || NEW.account_id || '"'
             || ',"status":"' || NEW.status || '"'
             || ',"quantity":' || NEW.quantity || ',"filled":0}',
           traceparent, NEW.created_at FROM outbox_state;
END;
CREATE TRIGGER outbox_order_changed AFTER UPDATE OF status, filled ON orders
WHEN NEW.status <> OLD.status OR NEW.filled <> OLD.filled
BEGIN
  INSERT INTO outbox (type, subject, kind, currency, data, traceparent, created_at)
    SELECT CASE NEW.status WHEN 'open' THEN 'alluse.order.open'
                           WHEN 'partially_filled' THEN 'alluse.order.partially_filled'
                           WHEN 'filled' THEN 'alluse.order.filled'
                           WHEN 'cancelled' THEN 'alluse.order.cancelled'
                           ELSE 'alluse.order.rejected' END,
           NEW.id, NEW.side, NEW.currency,
           '{"account_id":"' || NEW.account_id || '"'
             || ',"status":"' || NEW.status || '"'
             || ',"quantity":' || NEW.quantity || ',"filled":' || NEW.filled || '}',
           traceparent, NEW.updated_at FROM outbox_state;
END;
CREATE TRIGGER outbox_reconciled AFTER UPDATE OF status ON reconciliations
WHEN NEW.status IN ('equal', 'different')
BEGIN
  INSERT INTO outbox (type, subject, kind, data, traceparent, created_at)
    SELECT 'alluse.positions.reconciled', NEW.id, NEW.status,
           '{"account_id":"' || NEW.account_id || '"'
             || ',"differences":' || NEW.differing || '}',
           traceparent, NEW.finished_at FROM outbox_state;
END;
