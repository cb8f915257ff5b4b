-- The schema of version 1, as it was; never edited. A database of that version is made of it in tests,
-- and it is what a migration back leads to.

-- The book. Money is integer minor units; instants are integer milliseconds since 1970 (UTC).
-- What may never happen is refused here, by the database, whatever the program above it does.

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- People and their sessions ------------------------------------------------------------------

CREATE TABLE users (
  seq          INTEGER PRIMARY KEY,
  id           TEXT    NOT NULL UNIQUE,
  username     TEXT    NOT NULL,
  username_key TEXT    NOT NULL UNIQUE,          -- NFKC, case folded: no look-alike twins
  email        BLOB,                             -- AES-256-GCM: key number, nonce, ciphertext
  legal_name   BLOB,                             -- the same
  roles        TEXT    NOT NULL,                 -- separated by spaces, sorted
  status       TEXT    NOT NULL CHECK (status IN ('active', 'locked', 'disabled')),
  version      INTEGER NOT NULL DEFAULT 1,
  created_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE credentials (
  user_id       TEXT PRIMARY KEY REFERENCES users (id),
  password_hash TEXT    NOT NULL,
  changed_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
  id         TEXT PRIMARY KEY,
  user_id    TEXT    NOT NULL REFERENCES users (id),
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  mfa_at     INTEGER,                            -- when a code of the second factor was given
  ended_at   INTEGER,
  ended_by   TEXT CHECK (ended_by IN ('logout', 'reuse', 'changed'))
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_end ON sessions (coalesce(ended_at, expires_at));

CREATE TABLE refresh_tokens (
  token_hash BLOB PRIMARY KEY,
  session_id TEXT    NOT NULL REFERENCES sessions (id),
  expires_at INTEGER NOT NULL,
  used_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

-- Accounts and their buckets -----------------------------------------------------------------

CREATE TABLE accounts (
  seq                INTEGER PRIMARY KEY,
  id                 TEXT    NOT NULL UNIQUE,
  owner_id           TEXT    NOT NULL REFERENCES users (id),
  type               TEXT    NOT NULL CHECK (type IN ('generation', 'revenue', 'compounding')),
  currency           TEXT    NOT NULL,
  name               TEXT    NOT NULL,
  status             TEXT    NOT NULL
                     CHECK (status IN ('active', 'suspended', 'closed', 'merged')),
  base_amount        INTEGER NOT NULL CHECK (base_amount >= 0),
  min_balance        INTEGER NOT NULL CHECK (min_balance >= 0),
  buffer_bps         INTEGER NOT NULL CHECK (buffer_bps BETWEEN 0 AND 10000),
  withdrawal_allowed INTEGER NOT NULL CHECK (withdrawal_allowed IN (0, 1)),
  policy_ref         TEXT,
  parent_id          TEXT REFERENCES accounts (id),
  root_id            TEXT    NOT NULL,
  depth              INTEGER NOT NULL CHECK (depth >= 0),
  merged_into_id     TEXT REFERENCES accounts (id),
  version            INTEGER NOT NULL DEFAULT 1,
  created_at         INTEGER NOT NULL,
  closed_at          INTEGER,
  external_ref       BLOB,                       -- encrypted, as users.email
  metadata           TEXT    NOT NULL CHECK (metadata LIKE '{%}'),
  CHECK ((closed_at IS NOT NULL) = (status = 'closed')),
  CHECK ((merged_into_id IS NOT NULL) = (status = 'merged'))
) STRICT;
CREATE INDEX accounts_by_owner ON accounts (owner_id, seq);
CREATE INDEX accounts_by_root ON accounts (root_id, seq);
CREATE INDEX accounts_by_name ON accounts (name, seq);

-- A bucket is where money can be: of a customer account, or of the system (one per currency).
-- balance and holds are caches; the triggers below let them be nothing but the sum of the lines
-- and the sum of the open holds.
CREATE TABLE buckets (
  id         INTEGER PRIMARY KEY,
  account_id TEXT REFERENCES accounts (id),
  system     TEXT CHECK (system IN ('external', 'suspense', 'fees', 'tax')),
  kind       TEXT    NOT NULL CHECK (kind IN ('cash', 'tax_reserve', 'position:contracts',
                                              'position:leaps', 'position:shares')),
  currency   TEXT    NOT NULL,
  balance    INTEGER NOT NULL DEFAULT 0,
  holds      INTEGER NOT NULL DEFAULT 0,
  version    INTEGER NOT NULL DEFAULT 0,
  CHECK ((account_id IS NULL) <> (system IS NULL)),
  CHECK (system IS NOT NULL OR balance >= 0),
  UNIQUE (account_id, kind),
  UNIQUE (system, kind, currency)
) STRICT;

-- The journal --------------------------------------------------------------------------------

-- One row for each transaction; seq has no gaps. 'post' moves money at once, 'hold' keeps it back
-- until a row of closings ends it. A row is never changed: its state is read from what follows it.
CREATE TABLE transactions (
  seq             INTEGER PRIMARY KEY,
  id              TEXT    NOT NULL UNIQUE,
  phase           TEXT    NOT NULL CHECK (phase IN ('post', 'hold')),
  kind            TEXT    NOT NULL CHECK (kind IN (
                    'deposit', 'withdrawal', 'transfer', 'premium', 'assignment', 'fee', 'tax',
                    'interest', 'adjustment', 'reversal',
                    'opening', 'fork', 'merge', 'reinvest', 'sweep')),
  amount          INTEGER NOT NULL CHECK (amount > 0),
  currency        TEXT    NOT NULL,
  from_account_id TEXT REFERENCES accounts (id),
  to_account_id   TEXT REFERENCES accounts (id),
  expires_at      INTEGER,
  reverses_seq    INTEGER UNIQUE REFERENCES transactions (seq),
  memo            TEXT,
  reason          TEXT,
  effective_at    INTEGER NOT NULL,
  recorded_at     INTEGER NOT NULL,
  actor           TEXT    NOT NULL,
  metadata        TEXT    NOT NULL DEFAULT '{}' CHECK (metadata LIKE '{%}'),
  CHECK ((kind = 'reversal') = (reverses_seq IS NOT NULL))
) STRICT;
CREATE INDEX transactions_by_from ON transactions (from_account_id, seq)
  WHERE from_account_id IS NOT NULL;
CREATE INDEX transactions_by_to ON transactions (to_account_id, seq)
  WHERE to_account_id IS NOT NULL;

-- The signed amounts. (seq, line_no) is the order of the book: the lines of a posted transaction
-- carry its own seq; those of a settled hold are appended at the end of the book as it is then, so
-- that what was read at an older seq stays true. Lines are inserted before the row they belong to:
-- the foreign keys are checked at COMMIT, so none can be left without it, and that row's trigger
-- sees them all.
CREATE TABLE lines (
  seq             INTEGER NOT NULL,
  line_no         INTEGER NOT NULL,
  transaction_seq INTEGER NOT NULL
                  REFERENCES transactions (seq) DEFERRABLE INITIALLY DEFERRED,
  closing_seq     INTEGER REFERENCES closings (hold_seq) DEFERRABLE INITIALLY DEFERRED,
  bucket_id       INTEGER NOT NULL REFERENCES buckets (id),
  amount          INTEGER NOT NULL CHECK (amount <> 0),
  balance_after   INTEGER NOT NULL,
  PRIMARY KEY (seq, line_no),
  CHECK (closing_seq IS NULL OR closing_seq = transaction_seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX lines_by_bucket ON lines (bucket_id, seq, line_no);
-- Inserting a transaction looks for the lines that wait for it, by these.
CREATE INDEX lines_by_transaction ON lines (transaction_seq);
CREATE INDEX lines_by_closing ON lines (closing_seq) WHERE closing_seq IS NOT NULL;

CREATE TABLE holds (
  seq          INTEGER PRIMARY KEY REFERENCES transactions (seq),
  bucket_id    INTEGER NOT NULL REFERENCES buckets (id),  -- where the money is kept back
  to_bucket_id INTEGER NOT NULL REFERENCES buckets (id),  -- where it goes when settled
  amount       INTEGER NOT NULL CHECK (amount > 0),
  expires_at   INTEGER,
  closed       INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1))
) STRICT;
CREATE INDEX holds_open ON holds (bucket_id, closed, expires_at, amount);
CREATE INDEX holds_open_to ON holds (to_bucket_id, closed, expires_at);
CREATE INDEX holds_by_bucket ON holds (bucket_id, seq);

-- How a hold ended: at most one row for each, for ever.
CREATE TABLE closings (
  hold_seq  INTEGER PRIMARY KEY REFERENCES holds (seq),
  outcome   TEXT    NOT NULL CHECK (outcome IN ('settle', 'void', 'expire')),
  amount    INTEGER NOT NULL CHECK (amount >= 0),
  after_seq INTEGER NOT NULL,                    -- the end of the book at that moment
  closed_at INTEGER NOT NULL,
  actor     TEXT    NOT NULL,
  CHECK ((outcome = 'settle') = (amount > 0))
) STRICT;

-- Guards -------------------------------------------------------------------------------------

CREATE TRIGGER transactions_no_gap BEFORE INSERT ON transactions
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM transactions)
BEGIN SELECT raise(ABORT, 'journal: seq must be the next one'); END;

CREATE TRIGGER transactions_balanced AFTER INSERT ON transactions
WHEN NEW.phase = 'post'
BEGIN
  SELECT raise(ABORT, 'journal: a transaction needs two lines')
    WHERE (SELECT count(*) FROM lines WHERE seq = NEW.seq) < 2;
  SELECT raise(ABORT, 'journal: lines do not add up to zero')
    WHERE EXISTS (SELECT 1 FROM lines JOIN buckets ON buckets.id = bucket_id
                  WHERE seq = NEW.seq GROUP BY currency HAVING sum(amount) <> 0);
END;
CREATE TRIGGER transactions_held AFTER INSERT ON transactions
WHEN NEW.phase = 'hold'
BEGIN
  SELECT raise(ABORT, 'journal: a hold moves no money')
    WHERE EXISTS (SELECT 1 FROM lines WHERE seq = NEW.seq);
END;
CREATE TRIGGER transactions_no_update BEFORE UPDATE ON transactions
BEGIN SELECT raise(ABORT, 'journal: transactions are never changed'); END;
CREATE TRIGGER transactions_no_delete BEFORE DELETE ON transactions
BEGIN SELECT raise(ABORT, 'journal: transactions are never deleted'); END;

CREATE TRIGGER lines_of_a_new_transaction BEFORE INSERT ON lines
WHEN NEW.closing_seq IS NULL AND (NEW.seq <> NEW.transaction_seq
  OR NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM transactions))
BEGIN SELECT raise(ABORT, 'journal: the transaction is already posted'); END;
CREATE TRIGGER lines_of_a_settlement BEFORE INSERT ON lines
WHEN NEW.closing_seq IS NOT NULL AND (NEW.seq IS NOT (SELECT max(seq) FROM transactions)
  OR EXISTS (SELECT 1 FROM closings WHERE hold_seq = NEW.closing_seq))
BEGIN SELECT raise(ABORT, 'journal: the hold is already closed'); END;
CREATE TRIGGER lines_in_order BEFORE INSERT ON lines
WHEN NEW.line_no IS NOT (SELECT coalesce(max(line_no), 0) + 1 FROM lines WHERE seq = NEW.seq)
BEGIN SELECT raise(ABORT, 'journal: line_no must be the next one'); END;
CREATE TRIGGER lines_move_balance AFTER INSERT ON lines
BEGIN
  SELECT raise(ABORT, 'journal: balance_after is not balance + amount')
    WHERE NEW.balance_after IS NOT
          (SELECT balance + NEW.amount FROM buckets WHERE id = NEW.bucket_id);
  UPDATE buckets SET balance = NEW.balance_after, version = version + 1
    WHERE id = NEW.bucket_id;
END;
CREATE TRIGGER lines_no_update BEFORE UPDATE ON lines
BEGIN SELECT raise(ABORT, 'journal: lines are never changed'); END;
CREATE TRIGGER lines_no_delete BEFORE DELETE ON lines
BEGIN SELECT raise(ABORT, 'journal: lines are never deleted'); END;

CREATE TRIGGER holds_opened AFTER INSERT ON holds
BEGIN
  SELECT raise(ABORT, 'journal: a hold belongs to a transaction that is one')
    WHERE NEW.closed <> 0
       OR (SELECT phase FROM transactions WHERE seq = NEW.seq) IS NOT 'hold';
  UPDATE buckets SET holds = holds + NEW.amount, version = version + 1 WHERE id = NEW.bucket_id;
END;
CREATE TRIGGER holds_end_once BEFORE UPDATE ON holds
WHEN OLD.closed = 1 OR NEW.closed <> 1
  OR NOT EXISTS (SELECT 1 FROM closings WHERE hold_seq = OLD.seq)
  OR NEW.seq <> OLD.seq OR NEW.bucket_id <> OLD.bucket_id
  OR NEW.to_bucket_id <> OLD.to_bucket_id OR NEW.amount <> OLD.amount
  OR NEW.expires_at IS NOT OLD.expires_at
BEGIN SELECT raise(ABORT, 'journal: a hold ends exactly once and is never changed'); END;
CREATE TRIGGER holds_no_delete BEFORE DELETE ON holds
BEGIN SELECT raise(ABORT, 'journal: holds are never deleted'); END;

CREATE TRIGGER closings_balanced AFTER INSERT ON closings
BEGIN
  SELECT raise(ABORT, 'journal: more was settled than was held')
    WHERE NEW.amount > (SELECT amount FROM holds WHERE seq = NEW.hold_seq);
  SELECT raise(ABORT, 'journal: a settlement needs two lines, nothing else has any')
    WHERE (NEW.outcome = 'settle')
       <> ((SELECT count(*) FROM lines WHERE closing_seq = NEW.hold_seq) >= 2);
  SELECT raise(ABORT, 'journal: lines do not add up to zero')
    WHERE EXISTS (SELECT 1 FROM lines JOIN buckets ON buckets.id = bucket_id
                  WHERE closing_seq = NEW.hold_seq GROUP BY currency HAVING sum(amount) <> 0);
  UPDATE holds SET closed = 1 WHERE seq = NEW.hold_seq;
  UPDATE buckets SET version = version + 1,
                     holds = holds - (SELECT amount FROM holds WHERE seq = NEW.hold_seq)
    WHERE id = (SELECT bucket_id FROM holds WHERE seq = NEW.hold_seq);
END;
CREATE TRIGGER closings_no_update BEFORE UPDATE ON closings
BEGIN SELECT raise(ABORT, 'journal: closings are never changed'); END;
CREATE TRIGGER closings_no_delete BEFORE DELETE ON closings
BEGIN SELECT raise(ABORT, 'journal: closings are never deleted'); END;

CREATE TRIGGER buckets_start_empty BEFORE INSERT ON buckets
WHEN NEW.balance <> 0 OR NEW.holds <> 0
BEGIN SELECT raise(ABORT, 'buckets: a new bucket is empty'); END;
CREATE TRIGGER buckets_balance_is_cached BEFORE UPDATE OF balance ON buckets
WHEN NEW.balance <> OLD.balance AND NEW.balance IS NOT
     (SELECT balance_after FROM lines WHERE bucket_id = NEW.id
      ORDER BY seq DESC, line_no DESC LIMIT 1)
BEGIN SELECT raise(ABORT, 'buckets: balance is the sum of the lines'); END;
CREATE TRIGGER buckets_holds_are_cached BEFORE UPDATE OF holds ON buckets
WHEN NEW.holds IS NOT (SELECT coalesce(sum(amount), 0) FROM holds
                       WHERE bucket_id = NEW.id AND closed = 0)
BEGIN SELECT raise(ABORT, 'buckets: holds is the sum of the open holds'); END;
CREATE TRIGGER buckets_fixed BEFORE UPDATE OF id, account_id, system, kind, currency ON buckets
BEGIN SELECT raise(ABORT, 'buckets: only balances change'); END;
CREATE TRIGGER buckets_no_delete BEFORE DELETE ON buckets
BEGIN SELECT raise(ABORT, 'buckets: never deleted'); END;

CREATE TRIGGER accounts_fixed
BEFORE UPDATE OF seq, id, owner_id, type, currency, parent_id, root_id, depth, created_at
ON accounts
BEGIN SELECT raise(ABORT, 'accounts: identity, owner, currency and birth are fixed'); END;
-- Of external_ref only the encryption changes (a new key); all else is listed here. Erasure of an
-- owner's personal data, which takes name and metadata and leaves the rest, is the one exception.
CREATE TRIGGER accounts_terminal
BEFORE UPDATE OF seq, id, owner_id, type, currency, name, status, base_amount, min_balance,
  buffer_bps, withdrawal_allowed, policy_ref, parent_id, root_id, depth, merged_into_id, version,
  created_at, closed_at, metadata
ON accounts
WHEN OLD.status IN ('closed', 'merged') AND NOT (
  NEW.name = 'erased' AND NEW.metadata = '{}' AND NEW.external_ref IS NULL
  AND (NEW.status, NEW.base_amount, NEW.min_balance, NEW.buffer_bps, NEW.withdrawal_allowed,
       NEW.policy_ref, NEW.merged_into_id, NEW.closed_at)
   IS (OLD.status, OLD.base_amount, OLD.min_balance, OLD.buffer_bps, OLD.withdrawal_allowed,
       OLD.policy_ref, OLD.merged_into_id, OLD.closed_at))
BEGIN SELECT raise(ABORT, 'accounts: closed and merged are terminal'); END;
CREATE TRIGGER accounts_end_empty BEFORE UPDATE OF status ON accounts
WHEN NEW.status IN ('closed', 'merged') AND EXISTS (
  SELECT 1 FROM buckets WHERE account_id = NEW.id AND (balance <> 0 OR holds <> 0))
BEGIN SELECT raise(ABORT, 'accounts: only an empty account ends'); END;
CREATE TRIGGER accounts_no_delete BEFORE DELETE ON accounts
BEGIN SELECT raise(ABORT, 'accounts: never deleted'); END;

-- What was done, by whom, and what was answered ----------------------------------------------

CREATE TABLE idempotency (
  n           INTEGER PRIMARY KEY,               -- in order of age, for the purge
  principal   TEXT    NOT NULL,
  method      TEXT    NOT NULL,
  path        TEXT    NOT NULL,
  key         TEXT    NOT NULL,
  fingerprint BLOB    NOT NULL,
  status      INTEGER NOT NULL,
  headers     TEXT    NOT NULL,
  body        BLOB    NOT NULL,
  created_at  INTEGER NOT NULL,
  UNIQUE (key, principal, path, method)
) STRICT;

CREATE TABLE audit (
  seq            INTEGER PRIMARY KEY,
  ts             INTEGER NOT NULL,
  actor          TEXT    NOT NULL,
  action         TEXT    NOT NULL,
  object         TEXT    NOT NULL,
  outcome        TEXT    NOT NULL,
  request_id     TEXT    NOT NULL,
  payload_digest TEXT    NOT NULL,
  prev_hash      BLOB    NOT NULL,
  leaf_hash      BLOB    NOT NULL
) STRICT;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'audit: records are never changed'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN SELECT raise(ABORT, 'audit: records are never deleted'); END;

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

-- The complete subtrees of the audit trail's Merkle tree from 2**8 leaves on (RFC 9162).

CREATE TABLE audit_nodes (
  level    INTEGER NOT NULL CHECK (level >= 8),
  position INTEGER NOT NULL CHECK (position >= 0),
  hash     BLOB    NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (level, position)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER audit_nodes_no_update BEFORE UPDATE ON audit_nodes
BEGIN SELECT raise(ABORT, 'audit: the tree only grows'); END;
CREATE TRIGGER audit_nodes_no_delete BEFORE DELETE ON audit_nodes
BEGIN SELECT raise(ABORT, 'audit: the tree only grows'); END;

-- What is given to or taken from one principal beside its roles.

CREATE TABLE grants (
  seq          INTEGER PRIMARY KEY,
  id           TEXT    NOT NULL UNIQUE,
  principal_id TEXT    NOT NULL REFERENCES users (id),
  scope        TEXT    NOT NULL,
  effect       TEXT    NOT NULL CHECK (effect IN ('allow', 'deny')),
  object_id    TEXT REFERENCES accounts (id),    -- null: everywhere
  expires_at   INTEGER,
  created_at   INTEGER NOT NULL,
  created_by   TEXT    NOT NULL REFERENCES users (id)
) STRICT;
CREATE INDEX grants_by_principal ON grants (principal_id, seq);
CREATE INDEX grants_by_object ON grants (object_id, seq) WHERE object_id IS NOT NULL;
CREATE INDEX grants_by_creator ON grants (created_by, seq);
CREATE INDEX grants_by_expiry ON grants (expires_at) WHERE expires_at IS NOT NULL;
CREATE TRIGGER grants_fixed BEFORE UPDATE ON grants
BEGIN SELECT raise(ABORT, 'grants: never changed, only taken back'); END;

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

-- base_mode contributed: what comes in raises the base, what goes out lowers it.
CREATE TRIGGER transactions_contribute AFTER INSERT ON transactions
WHEN NEW.phase = 'post' AND NEW.kind IN ('deposit', 'withdrawal')
 AND EXISTS (SELECT 1 FROM growth_in_force WHERE base_mode = 'contributed')
BEGIN
  UPDATE accounts SET base_amount = CASE NEW.kind
      WHEN 'deposit' THEN min(base_amount + NEW.amount, 9007199254740991)
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
           NEW.id, NEW.status,
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
