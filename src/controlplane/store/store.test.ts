import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ApiObject } from "../objects.ts";
import type { StoreEvent } from "./entry.ts";
import { Compacted } from "./history.ts";
import { byKey, Store } from "./store.ts";

const folder = mkdtempSync(join(tmpdir(), "weft-store-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const object = (namespace: string, name: string, value = 0): ApiObject => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { namespace, name },
  value,
});

describe("Store", () => {
  test("one counter of revisions, and entries in order of namespace and name", () => {
    const store = new Store();
    const a = store.create("configmaps", object("b", "x"));
    const b = store.create("configmaps", object("a", "y"));
    const c = store.create("secrets", object("a", "z"));
    expect([a, b, c].map((entry) => entry.revision)).toEqual([2, 3, 4]);
    expect(store.list("configmaps").map((entry) => `${entry.namespace}/${entry.name}`)).toEqual([
      "a/y",
      "b/x",
    ]);
    expect(store.list("configmaps", "b").map((entry) => entry.name)).toEqual(["x"]);
    expect(b.object.metadata.resourceVersion).toBe("3");
    expect(JSON.parse(b.text)).toEqual(b.object);
    store.close();
  });

  test("tells of each change with the object before it, and of deletions with their own revision", () => {
    const store = new Store();
    const seen: StoreEvent[] = [];
    const stop = store.subscribe("configmaps", (event) => void seen.push(event));
    const first = store.create("configmaps", object("a", "x", 1));
    const second = store.update("configmaps", first, object("a", "x", 2));
    store.delete("configmaps", second);
    stop();
    store.create("configmaps", object("a", "x", 3));
    expect(seen.map(({ type, revision, previous }) => [type, revision, previous?.revision])).toEqual([
      ["ADDED", 2, undefined],
      ["MODIFIED", 3, 2],
      ["DELETED", 4, 3],
    ]);
    expect(seen[2]?.entry.object.metadata.resourceVersion).toBe("4");
    expect(store.eventsSince("configmaps", 3).map((event) => event.revision)).toEqual([4, 5]);
    store.close();
  });

  test("keeps its objects and its counter in the file, which only its owner can read", () => {
    const file = join(folder, "kept.db");
    const before = new Store({ dataFile: file });
    const kept = before.create("configmaps", object("a", "x", 1));
    const gone = before.create("configmaps", object("a", "y", 1));
    const last = before.delete("configmaps", gone).revision;
    before.close();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const after = new Store({ dataFile: file });
    expect(after.list("configmaps").map((entry) => entry.text)).toEqual([kept.text]);
    expect(after.revision).toBeGreaterThanOrEqual(last);
    expect(() => after.eventsSince("configmaps", last - 1)).toThrow(Compacted);
    expect(after.eventsSince("configmaps", after.revision)).toEqual([]);
    after.close();
  });

  test("a file that another process holds, or that is no database, is one clear error", () => {
    const file = join(folder, "held.db");
    const holder = new Store({ dataFile: file });
    expect(() => new Store({ dataFile: file })).toThrow(/dataFile: ".*held.db" is in use/);
    holder.close();
    const rubbish = join(folder, "rubbish.db");
    writeFileSync(
      rubbish,
      "this is no database at all, but long enough to be looked at as if it were one".repeat(9),
    );
    expect(() => new Store({ dataFile: rubbish })).toThrow(/dataFile: ".*rubbish.db" cannot be used/);
    expect(() => new Store({ dataFile: join(folder, "no", "such", "folder.db") })).toThrow(/dataFile/);
  });

  test("a process that is killed loses nothing that it was told is stored", async () => {
    const file = join(folder, "killed.db");
    const script = `
      import { Store } from ${JSON.stringify(join(import.meta.dir, "store.ts"))};
      const store = new Store({ dataFile: ${JSON.stringify(file)} });
      for (let i = 0; ; i++) {
        store.create("configmaps", { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "c" + i, namespace: "n" } });
        if (i % 100 === 99) await Bun.write(Bun.stdout, i + "\\n");
      }`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
    let told = "";
    for await (const chunk of child.stdout) {
      told += new TextDecoder().decode(chunk);
      if (told.split("\n").length > 20) break;
    }
    child.kill("SIGKILL");
    await child.exited;
    const last = Number(told.slice(0, told.lastIndexOf("\n")).split("\n").at(-1));
    expect(last).toBeGreaterThan(1000);
    const store = new Store({ dataFile: file });
    for (let i = 0; i <= last; i++) expect(store.get("configmaps", "n", `c${i}`)?.name).toBe(`c${i}`);
    expect(store.revision).toBeGreaterThanOrEqual(store.list("configmaps").length);
    store.close();
  });

  test("forgets old events by limit and by compaction", () => {
    const store = new Store({ historyLimit: 8 });
    let entry = store.create("configmaps", object("a", "x"));
    const start = entry.revision;
    for (let i = 1; i <= 100; i++) entry = store.update("configmaps", entry, object("a", "x", i));
    expect(() => store.eventsSince("configmaps", start)).toThrow(Compacted);
    expect(store.eventsSince("configmaps", entry.revision - 8).length).toBe(8);
    store.compact();
    expect(() => store.eventsSince("configmaps", entry.revision - 1)).toThrow(Compacted);
    expect(store.eventsSince("configmaps", entry.revision)).toEqual([]);
    store.close();
  });

  test("shows the past exactly: listAt against copies taken at the time (random run)", () => {
    const store = new Store();
    const copies = new Map<number, string[]>();
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return (seed >> 8) % below;
    };
    for (let step = 0; step < 400; step++) {
      const target = object(`n${random(3)}`, `o${random(12)}`, step);
      const current = store.get("configmaps", target.metadata.namespace ?? "", target.metadata.name);
      if (current === undefined) store.create("configmaps", target);
      else if (random(3) === 0) store.delete("configmaps", current);
      else store.update("configmaps", current, target);
      const now = store.list("configmaps");
      expect([...now].sort(byKey)).toEqual([...now]);
      expect(store.count("configmaps")).toBe(now.length);
      copies.set(
        store.revision,
        now.map((entry) => entry.text),
      );
    }
    for (const [revision, copy] of copies) {
      const past = store.listAt("configmaps", undefined, revision);
      expect(past.map((entry) => entry.text)).toEqual(copy);
      const one = store.listAt("configmaps", "n1", revision).map((entry) => entry.text);
      expect(one).toEqual(copy.filter((text) => JSON.parse(text).metadata.namespace === "n1"));
    }
    store.close();
  });
});
