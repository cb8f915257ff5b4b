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
