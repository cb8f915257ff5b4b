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
