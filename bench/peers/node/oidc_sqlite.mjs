// Keeps oidc-provider's models in SQLite, as durably as our own database: WAL, and a commit waits for the disk.
import Database from "better-sqlite3";

const database = new Database("oidc.db");
database.pragma("journal_mode = WAL");
database.pragma("synchronous = FULL");
database.exec(`
  CREATE TABLE IF NOT EXISTS models (
    id TEXT PRIMARY KEY, grant_id TEXT, uid TEXT, payload TEXT NOT NULL, expires_at INTEGER, consumed INTEGER
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS models_by_grant ON models (grant_id);
  CREATE INDEX IF NOT EXISTS models_by_uid ON models (uid);
`);
const statements = {
  upsert: database.prepare(
    `INSERT INTO models (id, grant_id, uid, payload, expires_at) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (id) DO UPDATE SET payload = excluded.payload, expires_at = excluded.expires_at`,
  ),
  find: database.prepare("SELECT payload, consumed FROM models WHERE id = ? AND expires_at > ?"),
  findByUid: database.prepare("SELECT payload, consumed FROM models WHERE uid = ? AND expires_at > ?"),
  consume: database.prepare("UPDATE models SET consumed = ? WHERE id = ?"),
  destroy: database.prepare("DELETE FROM models WHERE id = ?"),
  revoke: database.prepare("DELETE FROM models WHERE grant_id = ?"),
};
const now = () => Math.floor(Date.now() / 1000);

function read(row) {
  return row && { ...JSON.parse(row.payload), ...(row.consumed && { consumed: row.consumed }) };
}

export class SqliteAdapter {
  constructor(model) {
    this.model = model;
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload, expiresIn) {
    const expires = expiresIn ? now() + expiresIn : Number.MAX_SAFE_INTEGER;
    statements.upsert.run(this.key(id), payload.grantId ?? null, payload.uid ?? null, JSON.stringify(payload), expires);
  }

  async find(id) {
    return read(statements.find.get(this.key(id), now()));
  }

  async findByUid(uid) {
    return read(statements.findByUid.get(uid, now()));
  }

  async consume(id) {
    statements.consume.run(now(), this.key(id));
  }

  async destroy(id) {
    statements.destroy.run(this.key(id));
  }

  async revokeByGrantId(grantId) {
    statements.revoke.run(grantId);
  }
}
