import { expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { type LeaseRecord, LeaseStore } from "./store.ts";

const record: LeaseRecord = {
  network: "net",
  containerId: "../../etc/passwd",
  ifname: "eth0",
  netns: "/run/netns/a",
  netnsIdentity: "4:5",
  link: 7,
  requested: [1, 3],
  provided: new Map([[12, Uint8Array.of(98, 0, 255)]]),
  broadcast: true,
  lease: {
    address: Prefix.parse("10.0.0.9/24"),
    server: Ip.parse("10.0.0.1"),
    serverMac: Uint8Array.of(2, 0, 0, 0, 0, 1),
    gateway: Ip.parse("10.0.0.1"),
    routes: [{ dst: Prefix.default(4), gw: Ip.parse("10.0.0.1") }],
    dns: { nameservers: ["10.0.0.2"] },
    renewal: 1000,
    rebinding: 2000,
    expiry: 3000,
  },
};
const never = Number.POSITIVE_INFINITY;
const endless = {
  ...record.lease,
  gateway: undefined,
  routes: [],
  renewal: never,
  rebinding: never,
  expiry: never,
};

test("Leases come back as they were, but for those of another boot and what is none", () => {
  const dir = mkdtempSync(join(tmpdir(), "weft-t-leases-"));
  try {
    const store = new LeaseStore(dir, "boot");
    const others = [
      { ...record, ifname: "eth1", lease: endless },
      { ...record, ifname: "eth2", ended: "lost" },
    ];
    for (const each of [record, ...others]) store.save(each);
    new LeaseStore(dir, "other").save({ ...record, ifname: "eth3" });
    const named = (letter: string) => join(dir, `${letter.repeat(40)}.json`);
    writeFileSync(named("a"), '{"network":"n');
    writeFileSync(named("b"), "[]");
    writeFileSync(`${named("c")}.new`, "{}");
    mkdirSync(join(named("d"), "x"), { recursive: true });
    Bun.spawnSync(["mkfifo", named("e")]);
    // Of others.
    const victim = join(dir, "victim.json");
    writeFileSync(victim, "precious");
    symlinkSync(victim, named("f"));
    writeFileSync(join(dir, "lock"), "");
    mkdirSync(join(dir, "folder/below"), { recursive: true });
    const broken: string[] = [];
    const loaded = store.load((path) => broken.push(path));
    const byName = (a: LeaseRecord, b: LeaseRecord) => (a.ifname < b.ifname ? -1 : 1);
    expect(loaded.sort(byName)).toEqual([record, ...others]);
    expect(broken).toHaveLength(6);
    expect(readFileSync(victim, "utf8")).toBe("precious");
    expect(readdirSync(dir)).toHaveLength(6);
    for (const each of loaded) store.remove(each);
    store.remove(record);
    expect(readdirSync(dir).sort()).toEqual(["folder", "lock", "victim.json"]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
