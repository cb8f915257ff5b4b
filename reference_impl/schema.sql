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
                    'opening', 'fork', 'merge', 'reinvest', 'sweep', 'trade')),
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
