/** A caller that we did not write: Debian's podman and its libcni, through Weft's plugins. See podman-fixture.ts. */
import { expect } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testWith } from "../lib/needs.ts";
import { ask, PodmanHost, podmanNeeds } from "./podman-fixture.ts";

const test = testWith(...podmanNeeds);
const blue = ["10.91.0.0/24", "fd91::/64"] as const;
const green = ["10.92.0.0/24", "fd92::/64"] as const;

test.each([
  ["its own process", false],
  ["the plugins' server", true],
])(
  "by %s: a container starts, is reached, publishes ports, and leaves nothing",
  async (_, served) => {
    using scene = await PodmanHost.start({ served });
    scene.network("blue", blue);
    const { node, outside } = scene.host;
    const before = scene.traces();
    const id = scene.serve("web", "--network", "blue", "-p", "18080:80", "-p", "192.0.2.1:18081:80");
    const [ip4, ip6] = scene.addresses("web", "blue");
    expect([ip4, ip6]).toEqual(["10.91.0.2", "fd91::2"]);
    expect(scene.files("results")).toEqual([`blue-${id}-eth0`]);
    // Container to container, host to container.
    for (const url of [`http://${ip4}/`, `http://[${ip6}]/`]) {
      expect(scene.once("blue", "/bin/wget", "-qO-", url)).toBe("hello");
    }
    for (const ip of [ip4, ip6]) expect(ask(node, ip, 80)).toBe("hello");
    // The published ports: from outside, from the host, from a container to the host's address.
    for (const ip of ["192.0.2.1", "2001:db8::1"]) {
      expect(ask(outside, ip, 18080)).toBe("hello");
      expect(ask(node, ip, 18080)).toBe("hello");
    }
    expect(ask(node, "127.0.0.1", 18080)).toBe("hello");
    expect(ask(outside, "192.0.2.1", 18081)).toBe("hello");
    expect(ask(outside, "2001:db8::1", 18081)).toBe("");
    expect(scene.once("blue", "/bin/wget", "-qO-", "http://192.0.2.1:18080/")).toBe("hello");
    expect(scene.podman("port", "web").split("\n").sort()).toEqual([
      "80/tcp -> 0.0.0.0:18080",
      "80/tcp -> 192.0.2.1:18081",
    ]);
    scene.podman("stop", "-t", "0", "web");
    expect(scene.traces()).toBe(`${before}\ncni-blue`.split("\n").sort().join("\n"));
    expect(ask(outside, "192.0.2.1", 18080)).toBe("");
  },
  60_000,
);

test("networks are connected to and disconnected from a running container", async () => {
  using scene = await PodmanHost.start();
  scene.network("blue", blue);
  scene.network("green", green);
  const id = scene.serve("web", "--network", "blue");
  scene.podman("network", "connect", "green", "web");
  expect(scene.files("results")).toEqual([`blue-${id}-eth0`, `green-${id}-eth1`]);
  for (const ip of scene.addresses("web", "green")) expect(ask(scene.host.node, ip, 80)).toBe("hello");
  expect(scene.podman("exec", "web", "/bin/ip", "-o", "addr", "show", "eth1")).toContain("10.92.0.2/24");
  scene.podman("network", "disconnect", "green", "web");
  expect(scene.leases("green")).toEqual([]);
  expect(scene.podman("exec", "web", "/bin/ip", "-o", "link")).not.toContain("eth1");
  for (const ip of scene.addresses("web", "blue")) expect(ask(scene.host.node, ip, 80)).toBe("hello");
  scene.podman("rm", "-f", "-t", "0", "web");
  expect(scene.files("results")).toEqual([]);
  expect(scene.leases("blue")).toEqual([]);
}, 60_000);

test("an address and a hardware address of one's own", async () => {
  using scene = await PodmanHost.start();
  scene.network("blue", blue, [{ type: "tuning", capabilities: { mac: true } }]);
  scene.serve("web", "--network", "blue:ip=10.91.0.77,mac=02:00:00:00:00:77");
  expect(scene.addresses("web", "blue")[0]).toBe("10.91.0.77");
  expect(scene.podman("exec", "web", "/bin/ip", "link", "show", "eth0")).toContain("02:00:00:00:00:77");
  expect(ask(scene.host.node, "10.91.0.77", 80)).toBe("hello");
}, 60_000);

test("podman's own networks: create, inspect, use, remove", async () => {
  using scene = await PodmanHost.start();
  const before = scene.traces();
  const options = ["--subnet", "10.93.0.0/24", "--ipv6", "--subnet", "fd93::/64", "--disable-dns"];
  scene.podman("network", "create", ...options, "white");
  const [inspected] = JSON.parse(scene.podman("network", "inspect", "white"));
  expect(inspected).toMatchObject({ name: "white", driver: "bridge", ipv6_enabled: true });
  const list = JSON.parse(readFileSync(join(scene.networks, "white.conflist"), "utf8"));
  expect(list.plugins.map(({ type }: { type: string }) => type)).toEqual([
    "bridge",
    "portmap",
    "firewall",
    "tuning",
  ]);
  scene.serve("web", "--network", "white", "-p", "18080:80");
  for (const ip of ["192.0.2.1", "2001:db8::1"]) expect(ask(scene.host.outside, ip, 18080)).toBe("hello");
  scene.podman("rm", "-f", "-t", "0", "web");
  scene.podman("network", "rm", "white");
  // podman removes its network's bridge.
  expect(scene.traces()).toBe(before);
}, 60_000);

test("Weft's runtime goes on with what podman's libcni remembers", async () => {
  using scene = await PodmanHost.start();
  scene.network("blue", blue);
  const id = scene.serve("web", "--network", "blue", "-p", "18080:80");
  const other = scene.serve("other", "--network", "blue");
  const netns = scene.netns("web");
  const ids = ["--container-id", id];
  expect(scene.weftCni("check", "blue", netns, ...ids)).toMatchObject({ status: 0, stderr: "" });
  // The other one is garbage: its DEL has podman's result, though its libcni keeps no namespace.
  expect(scene.weftCni("gc", "blue", "--keep", `${id}/eth0`)).toMatchObject({ status: 0, stderr: "" });
  expect(scene.files("results")).toEqual([`blue-${id}-eth0`]);
  expect(scene.leases("blue")).toEqual(["10.91.0.2", "fd91::2"]);
  expect(scene.podman("exec", "other", "/bin/ip", "-o", "link")).not.toContain("eth0");
  expect(ask(scene.host.outside, "192.0.2.1", 18080)).toBe("hello");
  // The mapping is in podman's entry alone.
  expect(scene.weftCni("del", "blue", netns, ...ids)).toMatchObject({ status: 0, stderr: "" });
  expect(scene.files("results")).toEqual([]);
  expect(scene.leases("blue")).toEqual([]);
  expect(scene.host.node.kernel.nft.tables()).toEqual([]);
  for (const each of [id, other]) scene.podman("rm", "-f", "-t", "0", each);
}, 60_000);

test("podman's libcni goes on with what Weft's runtime remembers", async () => {
  using scene = await PodmanHost.start();
  scene.network("blue", blue);
  const before = scene.traces();
  const id = scene.serve("web", "--network", "blue", "-p", "18080:80");
  const netns = scene.netns("web");
  const ids = ["--container-id", id];
  expect(scene.weftCni("del", "blue", netns, ...ids)).toMatchObject({ status: 0 });
  const mapping = '{"portMappings":[{"hostPort":18082,"containerPort":80,"protocol":"tcp"}]}';
  const pod = ["--args", "IgnoreUnknown=1;K8S_POD_NAME=web", "--capabilities", mapping];
  expect(scene.weftCni("add", "blue", netns, ...ids, ...pod)).toMatchObject({ status: 0, stderr: "" });
  expect(scene.files("results")).toEqual([`blue-${id}-eth0`]);
  expect(ask(scene.host.outside, "192.0.2.1", 18082)).toBe("hello");
  scene.podman("rm", "-f", "-t", "0", "web");
  expect(scene.files("results")).toEqual([]);
  expect(scene.leases("blue")).toEqual([]);
  expect(scene.traces()).toBe(`${before}\ncni-blue`.split("\n").sort().join("\n"));
}, 60_000);

/** A plugin that notes what it is told, and hands the result on. */
const spy = (dir: string) => `#!${process.execPath}
import { appendFileSync } from "node:fs";
const stdin = JSON.parse(await Bun.stdin.text());
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith("CNI_")));
appendFileSync("${dir}/calls", JSON.stringify({ env, stdin }) + "\\n");
if (env.CNI_COMMAND === "VERSION") console.log('{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}');
if (env.CNI_COMMAND === "ADD") console.log(JSON.stringify(stdin.prevResult));
`;

interface Call {
  env: Record<string, string>;
  stdin: { prevResult: { interfaces: { mac: string; name: string }[] } };
}

test("plugins are told by Weft's runtime what podman's libcni tells them, and the same is kept", async () => {
  using scene = await PodmanHost.start();
  writeFileSync(join(scene.plugins, "spy"), spy(scene.plugins), { mode: 0o755 });
  scene.network(
    "blue",
    ["10.91.0.0/24"],
    [{ type: "spy", capabilities: { portMappings: true, mac: true }, own: { key: [1, null] } }],
  );
  /** What was called since, without what the kernel chooses anew each time. */
  const calls = (): Call[] => {
    const file = join(scene.plugins, "calls");
    const lines = existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
    rmSync(file, { force: true });
    const found = lines.map((line): Call => JSON.parse(line));
    for (const each of found.flatMap(({ stdin }) => stdin.prevResult?.interfaces ?? [])) {
      each.mac = "";
      if (each.name.startsWith("veth")) each.name = "veth";
    }
    return found.filter(({ env }) => env.CNI_COMMAND !== "VERSION");
  };
  const network = "blue:ip=10.91.0.5";
  const id = scene.serve("web", "--network", network, "-p", "18080:80");
  const name = `blue-${id}-eth0`;
  const theirs = { add: calls(), entry: scene.entry(name) };
  const ids = ["--container-id", id, "--ifname", "eth0"];
  const netns = scene.netns("web");
  expect(scene.weftCni("del", "blue", netns, ...ids)).toMatchObject({ status: 0 });
  const [ownDel] = calls();
  const pairs = theirs.entry.cniArgs as [string, string][];
  const args = ["--args", pairs.map((pair) => pair.join("=")).join(";")];
  const capabilities = ["--capabilities", JSON.stringify(theirs.entry.capabilityArgs)];
  expect(scene.weftCni("add", "blue", netns, ...ids, ...args, ...capabilities)).toMatchObject({ status: 0 });
  const own = { add: calls(), entry: scene.entry(name) };
  expect(own.add).toEqual(theirs.add);
  expect(theirs.add).toHaveLength(1);
  // The newer libcni keeps the namespace, too.
  expect(own.entry).toMatchObject({ netns });
  const { netns: _, result: ownResult, ...ownRest } = own.entry;
  const { result: theirResult, ...theirRest } = theirs.entry;
  expect(ownRest).toEqual(theirRest);
  expect(Object.keys(ownResult as object).sort()).toEqual(Object.keys(theirResult as object).sort());
  scene.podman("rm", "-f", "-t", "0", "web");
  const [theirDel] = calls();
  expect(ownDel?.stdin).toEqual(theirDel?.stdin as Call["stdin"]);
  expect(ownDel?.env).toEqual(theirDel?.env as Call["env"]);
}, 60_000);

test("an ADD that a plugin refuses is podman's error, with the plugin's words, and leaves nothing", async () => {
  using scene = await PodmanHost.start();
  scene.network("blue", ["10.91.0.0/30"]);
  scene.serve("web", "--network", "blue");
  const before = scene.traces();
  expect(() => scene.serve("late", "--network", "blue")).toThrow(
    "no IP addresses available in range set: 10.91.0.1-10.91.0.2",
  );
  expect(scene.traces()).toBe(before);
}, 60_000);
