import { Database as Sqlite, type Statement } from "bun:sqlite";
import { chmodSync, closeSync, openSync } from "node:fs";
import { InvalidInput } from "../../lib/errors.ts";

/** One stored object, as its row is. */
export interface Row {
  resource: string;
  /** "" for cluster-scoped objects. */
  namespace: string;
  name: string;
  revision: number;
  /** The object as JSON. */
  value: string;
}

/** Revisions are reserved in blocks, so that most writes touch one row only; a restart skips the rest of a block. */
const BLOCK = 1000;
const LAYOUT = "1";

/**
 * The SQLite file behind the store, or a database in memory. One process holds it at a time. Each write is on disk when
 * it returns, as far as a crash of the process goes; a power failure may lose the last moments, never the file.
 */
export class Database {
  readonly #sqlite: Sqlite;
  readonly #put: Statement;
  readonly #delete: Statement;
  readonly #setMeta: Statement;
  #reserved: number;

  /** Opens the file, and makes it where there is none; without a file, a database in memory. */
  constructor(file?: string) {
    this.#sqlite = open(file);
    this.#put = this.#sqlite.query(
      "INSERT OR REPLACE INTO objects (resource, namespace, name, revision, value) VALUES (?, ?, ?, ?, ?)",
    );
    this.#delete = this.#sqlite.query(
      "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?",
    );
    this.#setMeta = this.#sqlite.query("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)");
    this.#reserved = Number(this.getMeta("revision") ?? "0");
  }

  /** The revision to go on from: no object has a higher one, nor ever had. */
  get revision(): number {
    return this.#reserved;
  }

  *rows(): Generator<Row> {
    yield* this.#sqlite
      .query("SELECT resource, namespace, name, revision, value FROM objects")
      .iterate() as Iterable<Row>;
  }

  put(row: Row): void {
    this.#reserve(row.revision);
    this.#put.run(row.resource, row.namespace, row.name, row.revision, row.value);
  }

  delete(resource: string, namespace: string, name: string, revision: number): void {
    this.#reserve(revision);
    this.#delete.run(resource, namespace, name);
  }

  getMeta(key: string): string | undefined {
    const row = this.#sqlite.query("SELECT value FROM meta WHERE key = ?").get(key) as {
      value: string;
    } | null;
    return row?.value;
  }

  setMeta(key: string, value: string): void {
    this.#setMeta.run(key, value);
  }

  close(): void {
    this.#sqlite.close();
  }

  #reserve(revision: number): void {
    if (revision <= this.#reserved) return;
    this.#reserved = revision + BLOCK;
    this.setMeta("revision", String(this.#reserved));
  }
}

function open(file: string | undefined): Sqlite {
  try {
    // The file holds the cluster's CA key: nobody else may read it.
    if (file !== undefined) {
      closeSync(openSync(file, "a", 0o600));
      chmodSync(file, 0o600);
    }
    const sqlite = new Sqlite(file ?? ":memory:", { create: true, strict: true });
    sqlite.run("PRAGMA locking_mode = EXCLUSIVE");
    sqlite.run("PRAGMA journal_mode = WAL");
    sqlite.run("PRAGMA synchronous = NORMAL");
    sqlite.run(
      "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    );
    sqlite.run(
      "CREATE TABLE IF NOT EXISTS objects (resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, " +
        "revision INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (resource, namespace, name)) STRICT, WITHOUT ROWID",
    );
    sqlite.run("INSERT OR IGNORE INTO meta (key, value) VALUES ('layout', ?)", [LAYOUT]);
    const row = sqlite.query("SELECT value FROM meta WHERE key = 'layout'").get() as { value: string };
    if (row.value !== LAYOUT) throw new Error(`its layout is ${row.value}, this version reads ${LAYOUT}`);
    return sqlite;
  } catch (error) {
    throw refused(file, error);
  }
}

function refused(file: string | undefined, error: unknown): InvalidInput {
  const text = error instanceof Error ? error.message : String(error);
  const busy = /locked|busy/i.test(text);
  return new InvalidInput(
    "dataFile",
    file,
    busy ? "is in use by another process" : `cannot be used: ${text}`,
    {
      remedy: busy
        ? "Stop the other API server, or give this one a file of its own"
        : "Give the path of a writable file in a folder that exists, or delete the damaged file",
      cause: error,
    },
  );
}
