-- Growth: policies and which is in force, systems, and what forked, merged and was reinvested.

-- A policy never changes: name and version stand for one document.
CREATE TABLE growth_policies (
  ref      TEXT PRIMARY KEY CHECK (ref LIKE '%@%'),
  document BLOB NOT NULL,
  sha256   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER growth_policies_no_update BEFORE UPDATE ON growth_policies
BEGIN SELECT raise(ABORT, 'growth: a policy is never changed'); END;
CREATE TRIGGER growth_policies_no_delete BEFORE DELETE ON growth_policies
BEGIN SELECT raise(ABORT, 'growth: a policy is never deleted'); END;

CREATE TABLE growth_in_force (
  account_type TEXT PRIMARY KEY CHECK (account_type IN ('generation', 'revenue', 'compounding')),
  policy_ref   TEXT    NOT NULL REFERENCES growth_policies (ref),
  base_mode    TEXT    NOT NULL CHECK (base_mode IN ('opening', 'contributed')),
  version      INTEGER NOT NULL DEFAULT 1,
  updated_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE systems (
  seq        INTEGER PRIMARY KEY REFERENCES transactions (seq),
  id         TEXT    NOT NULL UNIQUE,
  owner_id   TEXT    NOT NULL REFERENCES users (id),
  name       TEXT    NOT NULL,
  policy_ref TEXT    NOT NULL REFERENCES growth_policies (ref),
  created_at INTEGER NOT NULL
) STRICT;

-- One row for each fork, merge and reinvestment, under the seq of its transaction.
CREATE TABLE growth_events (
  seq        INTEGER PRIMARY KEY REFERENCES transactions (seq),
  id         TEXT    NOT NULL UNIQUE,
  kind       TEXT    NOT NULL CHECK (kind IN ('fork', 'merge', 'reinvest')),
  account_id TEXT    NOT NULL REFERENCES accounts (id),
  owner_id   TEXT    NOT NULL REFERENCES users (id),
  currency   TEXT    NOT NULL,
  amount     INTEGER NOT NULL CHECK (amount > 0),
  mode       TEXT    NOT NULL CHECK (mode IN ('policy', 'explicit')),
  override   INTEGER NOT NULL CHECK (override IN (0, 1)),
  policy_ref TEXT    NOT NULL REFERENCES growth_policies (ref),
  period     TEXT,                               -- that was reinvested
  quarter    TEXT    NOT NULL,                   -- in which it happened
  facts      TEXT    NOT NULL CHECK (facts LIKE '{%}'),
  legs       TEXT    NOT NULL CHECK (legs LIKE '[%]'),
  detail     TEXT    NOT NULL DEFAULT '{}' CHECK (detail LIKE '{%}'),
  reason     TEXT,
  created_at INTEGER NOT NULL,
  actor      TEXT    NOT NULL,
  CHECK ((kind = 'reinvest') = (period IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX growth_events_once ON growth_events (account_id, period)
  WHERE kind = 'reinvest';
CREATE INDEX growth_events_by_account ON growth_events (account_id, kind, seq);
CREATE INDEX growth_events_by_owner ON growth_events (owner_id, seq);
CREATE INDEX growth_events_by_kind ON growth_events (kind, seq);
CREATE INDEX growth_events_summed ON growth_events (quarter, currency, kind, amount);
CREATE INDEX growth_events_summed_by_owner
  ON growth_events (owner_id, quarter, currency, kind, amount);
CREATE TRIGGER growth_events_no_update BEFORE UPDATE ON growth_events
BEGIN SELECT raise(ABORT, 'growth: events are never changed'); END;
CREATE TRIGGER growth_events_no_delete BEFORE DELETE ON growth_events
BEGIN SELECT raise(ABORT, 'growth: events are never deleted'); END;

-- The accounts that a transaction of growth touches, and as what.
CREATE TABLE parties (
  account_id TEXT    NOT NULL REFERENCES accounts (id),
  seq        INTEGER NOT NULL REFERENCES transactions (seq),
  role       TEXT    NOT NULL
             CHECK (role IN ('opened', 'parent', 'child', 'source', 'target', 'self')),
  PRIMARY KEY (account_id, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX parties_by_seq ON parties (seq, role, account_id);

-- Two forests: parent_id by birth, merged_into_id by end. An edge of the first leads to an account
-- that was there before, one of the second to an account that is alive: neither can close a ring.
CREATE TRIGGER accounts_birth BEFORE INSERT ON accounts
WHEN NEW.parent_id IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM accounts p WHERE p.id = NEW.parent_id AND p.root_id = NEW.root_id
     AND p.depth + 1 = NEW.depth AND p.owner_id = NEW.owner_id AND p.currency = NEW.currency)
BEGIN SELECT raise(ABORT, 'accounts: root, depth, owner and currency come from the parent'); END;
CREATE TRIGGER accounts_merge BEFORE UPDATE OF merged_into_id ON accounts
WHEN NEW.merged_into_id IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM accounts t WHERE t.id = NEW.merged_into_id AND t.id <> NEW.id
     AND t.status = 'active' AND t.currency = NEW.currency)
BEGIN SELECT raise(ABORT, 'accounts: a merge leads to another account that is active'); END;

-- base_mode contributed: what comes in raises the base, what goes out lowers it, and so does what
-- takes one of them back.
CREATE TRIGGER transactions_contribute AFTER INSERT ON transactions
WHEN NEW.phase = 'post'
 AND (NEW.kind IN ('deposit', 'withdrawal') OR NEW.kind = 'reversal' AND EXISTS (
   SELECT 1 FROM transactions t
    WHERE t.seq = NEW.reverses_seq AND t.kind IN ('deposit', 'withdrawal')))
 AND EXISTS (SELECT 1 FROM growth_in_force WHERE base_mode = 'contributed')
BEGIN
  UPDATE accounts SET base_amount = CASE
      WHEN NEW.to_account_id IS NOT NULL THEN min(base_amount + NEW.amount, 9007199254740991)
      ELSE max(base_amount - NEW.amount, 0) END
    WHERE id = coalesce(NEW.from_account_id, NEW.to_account_id)
      AND type IN (SELECT account_type FROM growth_in_force WHERE base_mode = 'contributed');
END;
CREATE TRIGGER closings_contribute AFTER INSERT ON closings
WHEN NEW.outcome = 'settle'
 AND EXISTS (SELECT 1 FROM growth_in_force WHERE base_mode = 'contributed')
BEGIN
  UPDATE accounts SET base_amount = max(base_amount - NEW.amount, 0)
    WHERE id = (SELECT from_account_id FROM transactions
                WHERE seq = NEW.hold_seq AND kind = 'withdrawal')
      AND type IN (SELECT account_type FROM growth_in_force WHERE base_mode = 'contributed');
END;
