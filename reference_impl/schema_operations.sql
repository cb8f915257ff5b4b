-- Operating the deployment: maintenance, the catalogue of backups, and the way back in time.

CREATE TABLE maintenance (
  id        INTEGER PRIMARY KEY CHECK (id = 1),
  read_only INTEGER NOT NULL DEFAULT 0 CHECK (read_only IN (0, 1)),
  since     INTEGER,
  reason    TEXT,
  CHECK ((since IS NOT NULL) = (read_only = 1))
) STRICT;
INSERT INTO maintenance (id) VALUES (1);

-- What was backed up; the files and their signed manifests lie in the folder of backups.
CREATE TABLE backups (
  seq         INTEGER PRIMARY KEY,
  id          TEXT    NOT NULL UNIQUE,
  type        TEXT    NOT NULL CHECK (type IN ('full', 'incremental', 'configuration')),
  base_id     TEXT,                              -- the backup that an incremental one continues
  created_at  INTEGER NOT NULL,                  -- it holds every change up to this instant
  created_by  TEXT    NOT NULL,
  epoch       INTEGER NOT NULL,
  last_seq    INTEGER NOT NULL,
  audit_size  INTEGER NOT NULL,
  audit_root  TEXT    NOT NULL,
  bytes       INTEGER NOT NULL,
  sha256      TEXT    NOT NULL,                  -- of the manifest, which has those of the files
  verified_at INTEGER,
  valid       INTEGER CHECK (valid IN (0, 1)),
  CHECK ((verified_at IS NOT NULL) = (valid IS NOT NULL))
) STRICT;
CREATE TRIGGER backups_fixed
BEFORE UPDATE OF seq, id, type, base_id, created_at, created_by, epoch, last_seq, audit_size,
  audit_root, bytes, sha256
ON backups
BEGIN SELECT raise(ABORT, 'backups: what was made never changes'); END;

-- How to take back each change of what is not the journal (operations/undo.py makes the triggers):
-- a restore to a moment runs these statements, newest first, on a copy of the book.
CREATE TABLE undo_log (
  seq       INTEGER PRIMARY KEY,
  audit_seq INTEGER NOT NULL,                    -- the record of the change
  statement TEXT    NOT NULL
) STRICT;
CREATE TABLE undo_state (
  id        INTEGER PRIMARY KEY CHECK (id = 1),
  audit_seq INTEGER NOT NULL                     -- the log reaches back to after this record
) STRICT;
INSERT INTO undo_state VALUES (1, 0);
