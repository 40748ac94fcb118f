import { afterAll, expect, test } from "bun:test";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ip } from "../lib/ip.ts";
import { FileLeaseStore, LeaseStoreBusy, LeaseStoreError } from "./file.ts";

const folder = mkdtempSync(join(tmpdir(), "weft-leases-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
const open = () => new FileLeaseStore("net", join(folder, String(count++), "deep"));
const blue = { containerId: "blue", ifname: "eth0" };
const green = { containerId: "green", ifname: "eth0" };
const ip = (text: string) => Ip.parse(text);

test("leases are files as the reference writes them", async () => {
  const store = open();
  expect(store.exists()).toBe(false);
  await store.transaction(() => {
    expect(store.reserve(ip("10.0.0.2"), blue, 0)).toBe(true);
    expect(store.reserve(ip("fd00::2"), blue, 1)).toBe(true);
    expect(store.reserve(ip("10.0.0.2"), green, 0)).toBe(false);
  });
  expect(readdirSync(store.dir).sort()).toEqual([
    "10.0.0.2",
    "fd00::2",
    "last_reserved_ip.0",
    "last_reserved_ip.1",
    "lock",
  ]);
  expect(readFileSync(join(store.dir, "10.0.0.2"), "utf8")).toBe("blue\r\neth0");
  expect(readFileSync(join(store.dir, "last_reserved_ip.1"), "utf8")).toBe("fd00::2");
  expect(statSync(join(store.dir, "10.0.0.2")).mode & 0o777).toBe(0o644);
});

test("a lease is found, listed and released by its owner alone", async () => {
  const store = open();
  await store.transaction(() => {
    store.reserve(ip("10.0.0.2"), blue, 0);
    store.reserve(ip("10.0.0.3"), { ...blue, ifname: "eth1" }, 0);
    store.reserve(ip("10.0.0.4"), green, 0);
    expect(store.find(blue).map(String)).toEqual(["10.0.0.2"]);
    expect(store.release(blue).map(String)).toEqual(["10.0.0.2"]);
    expect(store.release(blue)).toEqual([]);
    expect(store.has(ip("10.0.0.2"))).toBe(false);
    expect(
      store
        .list()
        .map((lease) => `${lease.ip} ${lease.owner.containerId}/${lease.owner.ifname}`)
        .sort(),
    ).toEqual(["10.0.0.3 blue/eth1", "10.0.0.4 green/eth0"]);
    expect(store.lastReserved(0)?.toString()).toBe("10.0.0.4");
    expect(store.lastReserved(7)).toBeUndefined();
  });
});

const holder = { netns: "/run/netns/blue", boot: "this" };

test("a remembered attachment is found by its record, without a look at other leases", async () => {
  const store = open();
  await store.transaction(() => {
    store.remember(blue, [ip("10.0.0.2"), ip("fd00::2")], holder);
    store.reserve(ip("10.0.0.2"), blue, 0);
    store.reserve(ip("fd00::2"), blue, 1);
    expect(store.remembered()).toMatchObject([{ owner: blue, holder }]);
  });
  // Were it read, it would be found.
  writeFileSync(join(store.dir, "10.0.0.9"), "blue\r\neth0");
  await store.transaction(() => expect(store.find(blue).map(String)).toEqual(["10.0.0.2", "fd00::2"]));
  await store.transaction(() => expect(store.release(blue).map(String)).toEqual(["10.0.0.2", "fd00::2"]));
  await store.transaction(() => {
    expect(store.remembered()).toEqual([]);
    expect(store.find(blue).map(String)).toEqual(["10.0.0.9"]);
  });
});

test("a record is believed only as far as the leases are still the owner's", async () => {
  const store = open();
  await store.transaction(() => {
    store.remember(blue, [ip("10.0.0.2"), ip("10.0.0.3"), ip("10.0.0.4")], holder);
    store.reserve(ip("10.0.0.2"), blue, 0);
    store.reserve(ip("10.0.0.3"), green, 0);
    expect(store.find(blue).map(String)).toEqual(["10.0.0.2"]);
    store.release(blue);
    expect(store.list().map((lease) => String(lease.ip))).toEqual(["10.0.0.3"]);
  });
});

test("leases that another program makes meanwhile are found", async () => {
  const store = open();
  await store.transaction(() => expect(store.find(green)).toEqual([]));
  await store.transaction(() => store.reserve(ip("10.0.0.2"), blue, 0));
  writeFileSync(join(store.dir, "10.0.0.3"), "green\r\neth0");
  await store.transaction(() => expect(store.find(green).map(String)).toEqual(["10.0.0.3"]));
});

test("as long as nobody else changes anything, leases are read once", async () => {
  const store = open();
  await store.transaction(() => {
    expect(store.find(green)).toEqual([]);
    store.reserve(ip("10.0.0.2"), blue, 0);
  });
  // A change that leaves no trace is not noticed: what is in the folder is not read again.
  const { mtimeNs } = statSync(store.dir, { bigint: true });
  writeFileSync(join(store.dir, "10.0.0.3"), "green\r\neth0");
  const touched = Bun.spawnSync([
    "touch",
    "-d",
    `@${mtimeNs / 10n ** 9n}.${String(mtimeNs % 10n ** 9n).padStart(9, "0")}`,
    store.dir,
  ]);
  expect(touched.exitCode).toBe(0);
  await store.transaction(() => expect(store.find(green)).toEqual([]));
});

test("leases whose records are gone are found, by the process that made them too", async () => {
  const store = open();
  await store.transaction(() => expect(store.find(green)).toEqual([]));
  await store.transaction(() => {
    store.remember(blue, [ip("10.0.0.2")], holder);
    store.reserve(ip("10.0.0.2"), blue, 0);
  });
  rmSync(journalOf(store));
  await store.transaction(() => expect(store.find(blue).map(String)).toEqual(["10.0.0.2"]));
});

/** The journal of records. */
const journalOf = (store: FileLeaseStore) => join(store.dir, "../.weft/net");

for (const text of [
  "",
  "{",
  "null",
  "7",
  '{"ips":7}',
  '{"containerId":"blue","ifname":"eth0","ips":["10.0.0.300",7]}',
]) {
  test(`a record that says ${JSON.stringify(text)} is none`, async () => {
    const store = open();
    await store.transaction(() => store.remember(blue, [ip("10.0.0.2")], holder));
    writeFileSync(journalOf(store), text);
    await store.transaction(() => {
      store.reserve(ip("10.0.0.2"), blue, 0);
      expect(store.find(blue).map(String)).toEqual(["10.0.0.2"]);
      expect(store.remembered()).toEqual([]);
      store.release(blue);
      expect(store.find(blue)).toEqual([]);
    });
  });
}

test("a record that was cut short spoils no other", async () => {
  const store = open();
  await store.transaction(() => store.remember(blue, [ip("10.0.0.2")], holder));
  appendFileSync(journalOf(store), '\n{"containerId":"red","ifname":"eth0","ips":["10.0.');
  await store.transaction(() => {
    store.remember(green, [ip("10.0.0.3")], holder);
    expect(store.remembered().map(({ owner }) => owner)).toEqual([blue, green]);
  });
});

test("the records of a network without attachments are no file", async () => {
  const store = open();
  await store.transaction(() => store.remember(blue, [ip("10.0.0.2")], holder));
  expect(existsSync(journalOf(store))).toBe(true);
  await store.transaction(() => store.release(blue));
  expect(existsSync(journalOf(store))).toBe(false);
});

test("the journal of records stays short, and none gets lost", async () => {
  const store = open();
  const owner = (i: number) => ({ containerId: `c${i}`.padEnd(64, "x"), ifname: "eth0" });
  await store.transaction(() => {
    for (let i = 0; i < 20; i++) store.remember(owner(i), [ip(`10.0.1.${i}`)], holder);
  });
  let longest = 0;
  for (let i = 0; i < 1500; i++) {
    const passing = { containerId: `p${i}`, ifname: "eth0" };
    await store.transaction(() => {
      store.remember(passing, [ip("10.0.2.1")], holder);
      store.release(passing);
    });
    longest = Math.max(longest, statSync(journalOf(store)).size);
  }
  expect(longest).toBeGreaterThan(60_000);
  expect(longest).toBeLessThan(80_000);
  expect(statSync(journalOf(store)).size).toBeLessThan(longest);
  await store.transaction(() => {
    expect(store.remembered()).toMatchObject(
      Array.from({ length: 20 }, (_, i) => ({ owner: owner(i), holder })),
    );
  });
});

test("more questions than a few whether addresses are taken are answered as well", async () => {
  const store = open();
  await store.transaction(() => {
    for (let i = 1; i < 200; i++) store.reserve(ip(`10.0.0.${i}`), { ...blue, ifname: `eth${i}` }, 0);
    for (let i = 1; i < 256; i++) expect(store.has(ip(`10.0.0.${i}`))).toBe(i < 200);
    store.remove(ip("10.0.0.7"));
    expect(store.has(ip("10.0.0.7"))).toBe(false);
  });
});

test("leases of old reference plugins, without interface, belong to any interface of the container", async () => {
  const store = open();
  await store.transaction(() => {
    store.reserve(ip("10.0.0.9"), green, 0);
    writeFileSync(join(store.dir, "10.0.0.2"), "blue");
  });
  await store.transaction(() => expect(store.find(blue).map(String)).toEqual(["10.0.0.2"]));
  await store.transaction(() => expect(store.release(blue).map(String)).toEqual(["10.0.0.2"]));
});

test("what is no lease is passed over, whatever it is", async () => {
  const store = open();
  await store.transaction(() => store.reserve(ip("10.0.0.2"), blue, 0));
  mkdirSync(join(store.dir, "10.0.0.3"));
  symlinkSync("/nowhere", join(store.dir, "10.0.0.4"));
  writeFileSync(join(store.dir, "notes.txt"), "blue\r\neth0");
  writeFileSync(join(store.dir, "10.0.0.5"), "");
  writeFileSync(join(store.dir, "last_reserved_ip.0"), "10.0.");
  await store.transaction(() => {
    expect(store.find(blue).map(String)).toEqual(["10.0.0.2"]);
    expect(store.release({ containerId: "", ifname: "" }).map(String)).toEqual(["10.0.0.5"]);
    expect(store.lastReserved(0)).toBeUndefined();
    // An address whose file is not understood is not given out.
    expect(store.has(ip("10.0.0.3"))).toBe(true);
    expect(store.has(ip("10.0.0.4"))).toBe(true);
  });
  expect(existsSync(join(store.dir, "notes.txt"))).toBe(true);
});

test("symbolic links do not lead out of the folder", async () => {
  const victim = join(folder, "victim");
  for (const name of ["last_reserved_ip.0", "weft.draft", "lock"]) {
    const store = open();
    mkdirSync(store.dir, { recursive: true });
    writeFileSync(victim, "untouched");
    symlinkSync(victim, join(store.dir, name));
    await expect(store.transaction(() => store.reserve(ip("10.0.0.2"), blue, 0))).rejects.toThrow(
      LeaseStoreError,
    );
    expect(readFileSync(victim, "utf8")).toBe("untouched");
    expect(existsSync(join(store.dir, "10.0.0.2"))).toBe(false);
  }
});

test("a folder that cannot be made is one error that names it", async () => {
  writeFileSync(join(folder, "file"), "");
  const store = new FileLeaseStore("net", join(folder, "file"));
  await expect(store.transaction(() => {})).rejects.toThrow(`${folder}/file/net`);
});

test("processes that take leases at the same time never get the same one", async () => {
  const dataDir = join(folder, "shared");
  const script = `
    import { FileLeaseStore } from "${import.meta.dir}/file.ts";
    import { Ip } from "${import.meta.dir}/../lib/ip.ts";
    const store = new FileLeaseStore("net", ${JSON.stringify(dataDir)});
    for (let i = 0; i < 20; i++) {
      await store.transaction(() => {
        let n = 1;
        while (store.has(Ip.parse("10.0.0." + n))) n++;
        if (!store.reserve(Ip.parse("10.0.0." + n), { containerId: process.argv[2] + "-" + i, ifname: "eth0" }, 0)) throw new Error("taken");
      });
    }`;
  writeFileSync(join(folder, "take.ts"), script);
  const takers = ["a", "b", "c", "d"].map((name) =>
    Bun.spawn([process.execPath, join(folder, "take.ts"), name]),
  );
  expect(await Promise.all(takers.map((taker) => taker.exited))).toEqual([0, 0, 0, 0]);
  const store = new FileLeaseStore("net", dataDir);
  const owners = await store.transaction(() => store.list().map((lease) => lease.owner.containerId));
  expect(new Set(owners).size).toBe(80);
});

/** A process that has the store's lock until its standard input ends. */
async function hold(store: FileLeaseStore) {
  await store.transaction(() => {});
  const holder = Bun.spawn(["flock", join(store.dir, "lock"), "sh", "-c", "echo held; read go"], {
    stdin: "pipe",
    stdout: "pipe",
  });
  await holder.stdout.getReader().read();
  return holder;
}

test("whoever holds the lock holds up this network alone", async () => {
  const store = open();
  const holder = await hold(store);
  let isDone = false;
  const waiting = store.transaction(() => {
    isDone = true;
  });
  await open().transaction(() => {});
  expect(isDone).toBe(false);
  holder.stdin.end();
  await waiting;
  expect(isDone).toBe(true);
});

test("a lock that nobody lets go of is one error that names it, and so is a caller who waits no more", async () => {
  const store = new FileLeaseStore("net", join(folder, "stuck"), 50);
  const holder = await hold(store);
  const never = () => {
    throw new Error("is not to run");
  };
  await expect(store.transaction(never)).rejects.toThrow(LeaseStoreBusy);
  await expect(store.transaction(never)).rejects.toThrow(
    `${store.dir}/lock is locked by another process for more than 0.05 s`,
  );
  const abort = new AbortController();
  const waiting = new FileLeaseStore("net", join(folder, "stuck")).transaction(never, abort.signal);
  abort.abort(new Error("nobody waits"));
  await expect(waiting).rejects.toThrow("nobody waits");
  holder.stdin.end();
  await holder.exited;
  await store.transaction(() => expect(store.reserve(ip("10.0.0.2"), blue, 0)).toBe(true));
});
