/** Network namespaces: made, found, entered and deleted as `ip netns` does it. */
import { afterEach, expect } from "bun:test";
import { closeSync, existsSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as ffi from "../../src/linux/ffi.ts";
import {
  bindNewNetns,
  createNetns,
  deleteNetns,
  inNetns,
  listNetns,
  type NetnsRef,
  netnsIdentity,
  netnsPath,
} from "../../src/linux/netns.ts";
import { Rtnl } from "../../src/linux/route/rtnl.ts";
import { ProcSysctl } from "../../src/linux/sysctl.ts";
import { refusal } from "../conformance/lab.ts";
import { needs, testWith } from "../lib/needs.ts";

const kernelTest = testWith(needs.root, needs.command("ip", "iproute2"), needs.kernel("bridge"));

let count = 0;
const names: string[] = [];
function newName(): string {
  count += 1;
  const name = `weft-t-netns-${process.pid}-${count}`;
  names.push(name);
  return name;
}
afterEach(() => {
  for (const name of names.splice(0)) deleteNetns(name);
});

const ip = (...args: string[]) => Bun.spawnSync(["ip", ...args]).stdout.toString();
const own = (): NetnsRef => ({ path: "/proc/self/ns/net" });

kernelTest("a namespace is made and deleted under its name, and ip sees it", () => {
  const name = newName();
  createNetns(name);
  expect(listNetns()).toContain(name);
  expect(
    ip("netns", "list")
      .split("\n")
      .map((line) => line.split(" ")[0]),
  ).toContain(name);
  expect(ip("-n", name, "-brief", "link")).toStartWith("lo ");
  expect(refusal(() => createNetns(name))).toBe("EEXIST");
  deleteNetns(name);
  deleteNetns(name);
  expect(listNetns()).not.toContain(name);
  expect(existsSync(netnsPath({ name }))).toBe(false);
});

kernelTest("what ip made is used and deleted", () => {
  const name = newName();
  ip("netns", "add", name);
  using rtnl = new Rtnl({ netns: { name } });
  expect(rtnl.links.list().map((link) => link.name)).toContain("lo");
  deleteNetns(name);
  expect(ip("netns", "list")).not.toContain(name);
});

kernelTest("a plain file that a creation left half-way is cleared away", () => {
  const name = newName();
  createNetns(newName());
  writeFileSync(netnsPath({ name }), "");
  expect(refusal(() => inNetns({ name }, () => 0))).toBe("EINVAL");
  deleteNetns(name);
  expect(existsSync(netnsPath({ name }))).toBe(false);
});

kernelTest("a namespace is known by name, path, process and descriptor", async () => {
  const name = newName();
  createNetns(name);
  const child = inNetns({ name }, () =>
    Bun.spawn(["sleep", "60"], { stdio: ["ignore", "ignore", "ignore"] }),
  );
  const fd = openSync(netnsPath({ name }), "r");
  try {
    const refs: NetnsRef[] = [{ name }, { path: netnsPath({ name }) }, { pid: child.pid }, { fd }];
    const identities = new Set(refs.map(netnsIdentity));
    expect(identities.size).toBe(1);
    expect(identities).not.toContain(netnsIdentity(own()));
    using here = new Rtnl({ netns: { name } });
    for (const [i, netns] of refs.entries()) {
      // Entered, and as the place where a peer is born.
      using rtnl = new Rtnl({ netns });
      rtnl.links.add({ kind: "bridge", name: `br${i}` });
      expect(here.links.get(`br${i}`).kind).toBe("bridge");
      here.links.add({ kind: "veth", name: `a${i}`, peer: { name: `b${i}`, netns } });
      expect(here.links.get(`b${i}`).parent).toBe(here.links.index(`a${i}`));
    }
  } finally {
    closeSync(fd);
    child.kill();
    await child.exited;
  }
});

kernelTest("to enter is to come back, also when the action fails", () => {
  const name = newName();
  createNetns(name);
  const before = netnsIdentity({ path: "/proc/thread-self/ns/net" });
  const inside = inNetns({ name }, () => netnsIdentity({ path: "/proc/thread-self/ns/net" }));
  expect(inside).toBe(netnsIdentity({ name }));
  expect(() =>
    inNetns({ name }, () => {
      throw new Error("on purpose");
    }),
  ).toThrow("on purpose");
  expect(() => inNetns({ name }, async () => 1)).toThrow("must be synchronous");
  expect(netnsIdentity({ path: "/proc/thread-self/ns/net" })).toBe(before);
  const open = (path: string) => refusal(() => inNetns({ path }, () => 0));
  expect([open("/run/netns/weft-t-none"), open("/etc/hostname")]).toEqual(["ENOENT", "EINVAL"]);
});

kernelTest("a socket stays in its namespace when the name is gone", () => {
  const name = newName();
  createNetns(name);
  using rtnl = new Rtnl({ netns: { name } });
  rtnl.links.set("lo", { up: true });
  deleteNetns(name);
  expect(rtnl.links.get("lo").up).toBe(true);
});

kernelTest("a namespace is bound to any file", () => {
  const path = join(tmpdir(), `weft-t-netns-${process.pid}`);
  writeFileSync(path, "");
  try {
    bindNewNetns(path);
    const sysctl = new ProcSysctl({ netns: { path } });
    sysctl.write("net.ipv4.ip_forward", 1);
    expect(sysctl.read("net.ipv4.ip_forward")).toBe("1");
    expect(netnsIdentity({ path })).not.toBe(netnsIdentity(own()));
    ffi.umount(path, 0);
  } finally {
    rmSync(path, { force: true });
  }
});

kernelTest("names that are no file names are refused", () => {
  for (const name of ["", ".", "..", "a/b", "a\0b", "x".repeat(256), "é".repeat(128)]) {
    expect(() => createNetns(name)).toThrow("is not a file name");
  }
});
