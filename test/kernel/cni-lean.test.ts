/** The plugins' short way to the kernel says the same as the long one; see src/linux/lean/socket.ts. */
import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ip } from "../../src/lib/ip.ts";
import { Prefix } from "../../src/lib/prefix.ts";
import { isExists, isNotFound, KernelError } from "../../src/linux/errors.ts";
import * as ffi from "../../src/linux/ffi.ts";
import * as files from "../../src/linux/lean/files.ts";
import { LeanNft } from "../../src/linux/lean/nft.ts";
import { LeanRtnl } from "../../src/linux/lean/rtnl.ts";
import { type NftMap, Transaction } from "../../src/linux/nftables/index.ts";
import { Namespace } from "./services-fixture.ts";

/** A namespace by descriptor. */
class Open implements Disposable {
  readonly space: Namespace;
  readonly fd: number;
  readonly lean: LeanRtnl;

  constructor(word: string) {
    this.space = new Namespace(word);
    this.fd = ffi.open(`/run/netns/${this.space.name}`, 0);
    this.lean = new LeanRtnl(this.fd);
  }

  [Symbol.dispose](): void {
    this.lean.close();
    ffi.close(this.fd);
    this.space.close();
  }
}

function errnoOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof KernelError) return error.errnoName;
    throw error;
  }
  return "none";
}

function sysctl({ space }: Open, name: string): string {
  return space.kernel.sysctl.read(name);
}

test("what netlink says and sets of sysctls is what they are", () => {
  using a = new Open("a");
  const { rtnl, sysctl: own } = a.space.kernel;
  rtnl.links.add({ kind: "bridge", name: "br0", up: true });
  for (const [family, name] of [
    [4, "net.ipv4.ip_forward"],
    [6, "net.ipv6.conf.all.forwarding"],
  ] as const) {
    for (const value of ["1", "0"]) {
      own.write(name, value);
      expect(a.lean.isForwarding(family)).toBe(value === "1");
    }
  }
  for (const value of ["0", "1", "2"]) {
    own.write("net.ipv6.conf.br0.accept_ra", value);
    expect(a.lean.get("br0").refusesRouterAdvertisements).toBe(value === "0");
  }
  expect(sysctl(a, "net.ipv4.conf.br0.arp_notify")).toBe("0");
  a.lean.setArpNotify(a.lean.get("br0").index);
  expect(sysctl(a, "net.ipv4.conf.br0.arp_notify")).toBe("1");
  expect(sysctl(a, "net.ipv4.conf.default.arp_notify")).toBe("0");
});

test("links are the same by either way", () => {
  using a = new Open("a");
  using b = new Open("b");
  const { rtnl } = a.space.kernel;
  rtnl.links.add({ kind: "bridge", name: "br0", up: true, mtu: 1400 });
  const master = rtnl.links.get("br0").index;
  const peer = { name: "eth0", netnsFd: b.fd, mac: "02:00:00:00:00:07" };
  a.lean.addVeth({ name: "veth0", master, mtu: 1300, group: 7, peer });
  b.lean.setUp("eth0", true);
  rtnl.links.set("br0", { promiscuous: true });
  for (const { name } of rtnl.links.list()) {
    const {
      index,
      kind,
      mac,
      mtu,
      up,
      promiscuous,
      allMulticast,
      txQueueLength,
      operState,
      master: owner,
      parent,
      alias = "",
      group,
    } = rtnl.links.get(name);
    expect(a.lean.find(name)).toEqual({
      index,
      name,
      kind,
      mac: mac ?? "",
      macBytes: new Uint8Array((mac ?? "").split(":").map((byte) => Number.parseInt(byte, 16))),
      mtu,
      up,
      promiscuous,
      allMulticast,
      txQueueLength: txQueueLength ?? 0,
      operational: operState === "up",
      master: owner,
      parent: parent ?? (name === "veth0" ? expect.any(Number) : undefined),
      alias,
      group,
      refusesRouterAdvertisements: sysctl(a, `net.ipv6.conf.${name}.accept_ra`) === "0",
    });
    expect(a.lean.find(index)).toEqual(a.lean.get(name));
  }
  expect(b.space.kernel.rtnl.links.get("eth0")).toMatchObject({
    mac: "02:00:00:00:00:07",
    mtu: 1300,
    up: true,
  });
  expect(a.lean.find("nowhere")).toBeUndefined();
  expect(errnoOf(() => a.lean.get("nowhere"))).toBe("ENODEV");
  expect(
    errnoOf(() => a.lean.addVeth({ name: "veth0", master: undefined, mtu: undefined, group: 0, peer })),
  ).toBe("EEXIST");
  expect(
    errnoOf(() =>
      a.lean.addVeth({ name: "v", master: 9999, mtu: undefined, group: 0, peer: { ...peer, name: "x" } }),
    ),
  ).toBe("EINVAL");
  const changed = {
    mac: "02:00:00:00:00:08",
    mtu: 1280,
    txQueueLength: 77,
    promiscuous: true,
    allMulticast: true,
  };
  b.lean.change(b.lean.get("eth0"), changed);
  expect(b.space.kernel.rtnl.links.get("eth0")).toMatchObject(changed);
  b.lean.change(b.lean.get("eth0"), { promiscuous: false });
  expect(b.lean.get("eth0")).toMatchObject({ ...changed, promiscuous: false });
  expect(errnoOf(() => b.lean.change(b.lean.get("eth0"), { mtu: 1 }))).toBe("EINVAL");
  expect(b.lean.deleteLink("eth0")).toBe(true);
  expect(b.lean.deleteLink("eth0")).toBe(false);
  expect(a.lean.find("veth0")).toBeUndefined();
});

test("addresses and routes are the same by either way", () => {
  using a = new Open("a");
  const { rtnl } = a.space.kernel;
  rtnl.links.add({ kind: "bridge", name: "br0", up: true });
  const { index } = rtnl.links.get("br0");
  for (const text of ["10.1.0.5/16", "10.2.0.5/32", "fd00::5/64"]) {
    a.lean.addAddress(index, Prefix.parse(text), { nodad: true });
  }
  expect(a.lean.addresses(index).map(String).sort()).toEqual(
    rtnl.addresses
      .list({ link: index })
      .map(({ address }) => String(address))
      .sort(),
  );
  const [first] = rtnl.addresses.list({ link: index, family: 4 });
  expect(first).toMatchObject({ scope: "global" });
  expect(String(first?.broadcast)).toBe("10.1.255.255");
  expect(a.lean.addressState(index)).toBe("ready");
  expect(errnoOf(() => a.lean.addAddress(index, Prefix.parse("10.1.0.5/16")))).toBe("EEXIST");
  const common = {
    oif: index,
    scope: 0,
    priority: undefined,
    table: undefined,
    mtu: undefined,
    advmss: undefined,
  };
  a.lean.prependRoute({ ...common, dst: Prefix.parse("0.0.0.0/0"), gateway: Ip.parse("10.1.0.1") });
  a.lean.prependRoute({
    ...common,
    dst: Prefix.parse("10.9.0.0/16"),
    gateway: undefined,
    priority: 7,
    table: 1000,
    mtu: 1300,
    advmss: 1200,
  });
  expect(rtnl.routes.list({ dst: "0.0.0.0/0" })).toMatchObject([
    { oif: index, protocol: "boot", scope: "global" },
  ]);
  expect(rtnl.routes.list({ table: 1000 })).toMatchObject([
    { oif: index, priority: 7, metrics: { mtu: 1300, advmss: 1200 } },
  ]);
  const [host4, host6] = [Prefix.parse("10.1.0.9/32"), Prefix.parse("fd00::9/128")];
  a.lean.addRoute({ ...common, dst: host4, gateway: undefined, scope: 253, src: Ip.parse("10.1.0.5") });
  a.lean.addRoute({ ...common, dst: host6, gateway: undefined, src: Ip.parse("fd00::5") });
  const [route4] = rtnl.routes.list({ dst: "10.1.0.9/32" });
  expect([String(route4?.src), route4?.scope]).toEqual(["10.1.0.5", "link"]);
  expect(String(rtnl.routes.list({ dst: "fd00::9/128" })[0]?.src)).toBe("fd00::5");
  for (const dst of [host4, host6]) {
    expect(errnoOf(() => a.lean.addRoute({ ...common, dst, gateway: undefined }))).toBe("EEXIST");
    expect([a.lean.deleteRoute(dst, index), a.lean.deleteRoute(dst, index)]).toEqual([true, false]);
  }
  const unreachable = { ...common, dst: Prefix.parse("10.8.0.0/16"), gateway: Ip.parse("10.77.0.1") };
  expect(errnoOf(() => a.lean.prependRoute(unreachable))).toBe("ENETUNREACH");
  expect(a.lean.outgoingLink(Ip.parse("10.1.0.77"))).toBe(index);
  expect(a.lean.isLocal(Ip.parse("10.1.0.5"))).toBe(true);
  expect(a.lean.isLocal(Ip.parse("10.1.0.6"))).toBe(false);
  expect(a.lean.isLocal(Ip.parse("fd00:1::1"))).toBe(false);
});

test("errors carry the kernel's own words", () => {
  using a = new Open("a");
  try {
    a.lean.prependRoute({
      dst: Prefix.parse("10.0.0.0/8"),
      gateway: Ip.parse("10.77.0.1"),
      oif: 1,
      scope: 0,
      priority: undefined,
      table: undefined,
      mtu: undefined,
      advmss: undefined,
    });
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(KernelError);
    expect((error as KernelError).message).toMatch(
      /^cannot add route 10\.0\.0\.0\/8 via 10\.77\.0\.1 on link 1 \(ENETUNREACH: .+\)$/,
    );
  }
});

test("elements of nftables maps are the same by either way", () => {
  using a = new Open("a");
  const { nft } = a.space.kernel;
  const table = { family: "inet", name: "t" } as const;
  const verdicts: NftMap = { kind: "map", name: "v", key: "ipv4_addr", data: "verdict" };
  const values: NftMap = {
    kind: "map",
    name: "d",
    key: ["inet_proto", "inet_service"],
    data: ["ipv6_addr", "inet_service"],
  };
  nft.apply(
    new Transaction(table).add({ kind: "table", ...table }, { kind: "chain", name: "c" }, verdicts, values),
  );
  using lean = a.space.in(() => new LeanNft("t"));
  const jump = { set: "v", key: Uint8Array.of(10, 0, 0, 1), data: "c", comment: "net/blue/eth0" };
  const value = {
    set: "d",
    key: Uint8Array.of(17, 0, 0, 0, 0, 53, 0, 0),
    data: Uint8Array.of(0xfd, ...new Array(14).fill(0), 1, 0x14, 0xe9, 0, 0),
    comment: "é",
  };
  lean.add([jump, value]);
  expect(nft.elements(table, verdicts)).toEqual([
    { key: "10.0.0.1", data: { verdict: "jump", chain: "c" }, comment: "net/blue/eth0" },
  ]);
  expect(nft.elements(table, values)).toEqual([{ key: ["udp", 53], data: ["fd00::1", 5353], comment: "é" }]);
  expect(lean.find(jump)).toEqual({ comment: "net/blue/eth0", chain: "c" });
  expect(lean.find(value)).toEqual({ comment: "é", chain: undefined });
  expect(lean.find({ set: "v", key: Uint8Array.of(10, 0, 0, 2) })).toBeUndefined();
  expect(lean.find({ set: "nowhere", key: Uint8Array.of(10, 0, 0, 2) })).toBeUndefined();
  expect(lean.chainUse("c")).toBe(1);
  expect(lean.chainUse("nowhere")).toBeUndefined();
  expect(() => lean.add([jump])).toThrow("EEXIST");
  // All or nothing.
  const other = { ...jump, key: Uint8Array.of(10, 0, 0, 3) };
  expect(() => lean.add([other, { ...other, data: "nowhere", key: Uint8Array.of(10, 0, 0, 4) }])).toThrow(
    "ENOENT",
  );
  expect(lean.find(other)).toBeUndefined();
  lean.add([{ ...jump, comment: "other" }, other], [jump]);
  expect(lean.find(jump)?.comment).toBe("other");
  lean.delete([jump, other]);
  expect(lean.chainUse("c")).toBe(0);
  expect(errnoOf(() => lean.delete([jump]))).toBe("ENOENT");
  const many = Array.from({ length: 500 }, (_, i) => ({
    ...jump,
    key: Uint8Array.of(10, 1, i >> 8, i & 255),
  }));
  lean.add(many);
  expect(nft.elements(table, verdicts)).toHaveLength(500);
});

test("files are the same by either way", () => {
  const folder = mkdtempSync(join(tmpdir(), "weft-lean-"));
  try {
    const deep = join(folder, "a/b/c");
    files.makeFolders(deep, 0o755);
    files.makeFolders(deep, 0o755);
    files.writeText(join(deep, "é"), "größe", 0o600);
    expect(readFileSync(join(deep, "é"), "utf8")).toBe("größe");
    files.writeText(join(deep, "é"), "x", 0o600);
    expect(files.readText(join(deep, "é"))).toBe("x");
    for (let i = 0; i < 1500; i++) writeFileSync(join(deep, `file-${i}-${"x".repeat(i % 50)}`), "");
    mkdirSync(join(deep, "folder"));
    expect(files.listFolder(deep)).toHaveLength(1502);
    const large = "0123456789".repeat(5000);
    writeFileSync(join(deep, "large"), large);
    expect(files.readText(join(deep, "large"))).toBe(large);
    symlinkSync(join(deep, "large"), join(folder, "link"));
    expect(files.status(join(folder, "link"))).toEqual(files.status(join(deep, "large")));
    expect(files.status(deep)?.isFile).toBe(false);
    expect(files.status(join(folder, "nowhere"))).toBeUndefined();
    expect(errnoOf(() => files.writeText(join(folder, "link"), "x", 0o600))).toBe("ELOOP");
    files.removeFile(join(folder, "link"));
    files.removeFile(join(folder, "link"));
    expect(errnoOf(() => files.readText(join(folder, "nowhere")))).toBe("ENOENT");
    expect(() => files.listFolder(join(deep, "large"))).toThrow("ENOTDIR");
    expect([isNotFound, isExists].map((is) => is(new Error("x")))).toEqual([false, false]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
