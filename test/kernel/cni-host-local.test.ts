/** Leases of host-local over their life: a restart of the host, an empty pool, garbage, a folder with many. */
import { expect } from "bun:test";
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { LeaseRecords } from "../../src/ipam/records.ts";
import { needs, testWith } from "../lib/needs.ts";
import { addressOf, CniHost, ownPlugins } from "./cni-fixture.ts";

const test = testWith(needs.root);
const straceTest = testWith(needs.root, needs.command("strace"));

const netns = "/run/netns/weft-none";

/** A pool of two addresses, 10.77.0.2 and 10.77.0.3. */
function small(host: CniHost, more: JsonObject = {}): JsonObject {
  const ranges = [[{ subnet: "10.77.0.0/24", rangeStart: "10.77.0.2", rangeEnd: "10.77.0.3" }]];
  return { ...host.config({ cniVersion: "1.1.0", ...more }, { ranges }), type: "host-local" };
}

/** As if the host had been started anew since the attachment was made. */
function restartSince(host: CniHost, containerId: string): void {
  const file = join(host.dataDir, ".weft/net");
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  const lines = readFileSync(file, "utf8").split("\n");
  const at = lines.findLastIndex((line) => line.includes(`"${containerId}"`));
  expect(lines[at]).toContain(boot);
  lines[at] = (lines[at] ?? "").replace(boot, "00000000-0000-0000-0000-000000000000");
  writeFileSync(file, lines.join("\n"));
}

test("leases of before a restart are given out anew where nothing else is left", async () => {
  using host = new CniHost();
  for (const containerId of ["blue", "red"]) {
    await host.succeed("ADD", undefined, small(host), { containerId, netns });
  }
  const full = await host.call("ADD", undefined, small(host), { containerId: "green", netns });
  expect(full.json.code).toBe(11);
  expect((await host.call("STATUS", undefined, small(host))).json.code).toBe(50);
  restartSince(host, "blue");
  await host.succeed("STATUS", undefined, small(host));
  const added = await host.succeed("ADD", undefined, small(host), { containerId: "green", netns });
  expect(addressOf(added, 4)).toBe("10.77.0.2");
  expect(host.leases()).toEqual({ "10.77.0.2": "green/eth0", "10.77.0.3": "red/eth0" });
});

test("a container that comes back after a restart gets an address again", async () => {
  using host = new CniHost();
  await host.succeed("ADD", undefined, small(host), { containerId: "blue", netns });
  const twice = await host.call("ADD", undefined, small(host), { containerId: "blue", netns });
  expect(twice.json.code).toBe(999);
  restartSince(host, "blue");
  await host.succeed("ADD", undefined, small(host), { containerId: "blue", netns });
  expect(host.leases()).toEqual({ "10.77.0.3": "blue/eth0" });
});

test("a requested address that a lease of before a restart holds", async () => {
  using host = new CniHost();
  await host.succeed("ADD", undefined, small(host), { containerId: "blue", netns });
  const wish = small(host, { runtimeConfig: { ips: ["10.77.0.2"] } });
  expect((await host.call("ADD", undefined, wish, { containerId: "red", netns })).json.code).toBe(11);
  restartSince(host, "blue");
  await host.succeed("ADD", undefined, wish, { containerId: "red", netns });
  expect(host.leases()).toEqual({ "10.77.0.2": "red/eth0" });
});

test("a lease of before a restart stays where its namespace is there", async () => {
  using host = new CniHost();
  const blue = host.container();
  await host.succeed("ADD", blue, small(host));
  await host.succeed("ADD", undefined, small(host), { containerId: "red", netns });
  restartSince(host, blue.name);
  const full = await host.call("ADD", undefined, small(host), { containerId: "green", netns });
  expect(full.json.code).toBe(11);
  expect(Object.values(host.leases())).toEqual([`${blue.name}/eth0`, "red/eth0"]);
});

test("leases without a record are never taken for old ones", async () => {
  using host = new CniHost();
  await host.succeed("ADD", undefined, small(host), { containerId: "blue", netns });
  await host.succeed("DEL", undefined, small(host), { containerId: "blue" });
  for (const ip of ["10.77.0.2", "10.77.0.3"]) {
    writeFileSync(join(host.dataDir, "net", ip), "other\r\neth0");
  }
  const full = await host.call("ADD", undefined, small(host), { containerId: "green", netns });
  expect(full.json.code).toBe(11);
  expect(host.leases()).toEqual({ "10.77.0.2": "other/eth0", "10.77.0.3": "other/eth0" });
});

test("GC leaves the leases and records of valid attachments alone", async () => {
  using host = new CniHost();
  for (const containerId of ["blue", "red"]) {
    await host.succeed("ADD", undefined, small(host), { containerId, netns });
  }
  const records = join(host.dataDir, ".weft/net");
  // What a kill in the middle of an ADD leaves.
  appendFileSync(
    records,
    '\n{"containerId":"dead","ifname":"eth0","ips":["10.77.0.9"],"netns":"","boot":""}\n{"cont',
  );
  await host.succeed(
    "GC",
    undefined,
    small(host, { "cni.dev/valid-attachments": [{ containerID: "red", ifname: "eth0" }] }),
  );
  expect(host.leases()).toEqual({ "10.77.0.3": "red/eth0" });
  const remembered = new LeaseRecords(join(host.dataDir, ".weft"), "net").all();
  expect(remembered.map(({ owner }) => owner.containerId)).toEqual(["red"]);
});

test("STATUS says where no container could get an address, also before the first came", async () => {
  using host = new CniHost();
  const config = (ipam: JsonObject) => ({
    ...host.config({ cniVersion: "1.1.0" }, ipam),
    type: "host-local",
  });
  const gatewayAlone = { subnet: "10.77.0.0/24", rangeStart: "10.77.0.1", rangeEnd: "10.77.0.1" };
  expect((await host.call("STATUS", undefined, config({ ranges: [[gatewayAlone]] }))).json.code).toBe(50);
  const resolvConf = join(host.dir, "resolv.conf");
  const { json } = await host.call("STATUS", undefined, config({ resolvConf }));
  expect([json.code, json.msg]).toEqual([7, `ipam.resolvConf: "${resolvConf}" cannot be read (ENOENT)`]);
  writeFileSync(resolvConf, "nameserver 192.0.2.53");
  await host.succeed("STATUS", undefined, config({ resolvConf }));
  for (const dataDir of [resolvConf, join(resolvConf, "deep/down")]) {
    const { json } = await host.call("STATUS", undefined, config({ dataDir }));
    expect([json.code, json.msg]).toEqual([50, `cannot make the folder ${dataDir}/net (ENOTDIR)`]);
  }
  await host.succeed("STATUS", undefined, config({ dataDir: join(host.dir, "deep/down") }));
  expect(existsSync(join(host.dir, "deep"))).toBe(false);
  expect(existsSync(host.dataDir)).toBe(false);
});

test.each([
  ["IP=10.77.0.3", {}],
  ["IP=10.77.0.3/24", {}],
  ["", { runtimeConfig: { ips: ["10.77.0.3/24"] } }],
  ["", { args: { cni: { ips: ["10.77.0.3"] } } }],
])("the address of %p and %j is given, whatever prefix length is said", async (args, more) => {
  using host = new CniHost();
  const added = await host.succeed("ADD", undefined, small(host, more), { containerId: "blue", netns, args });
  expect(added.json.ips).toMatchObject([{ address: "10.77.0.3/24" }]);
});

test("ranges that overlap are named as they stand in the configuration", async () => {
  using host = new CniHost();
  const ipRanges = [[{ subnet: "10.77.0.0/25" }]];
  const config = { ...host.config({ runtimeConfig: { ipRanges } }), type: "host-local" };
  const { json } = await host.call("ADD", undefined, config, { containerId: "blue", netns });
  expect(json.msg).toBe(
    'ipam.ranges[0][0]: "10.77.0.0/24" overlaps 10.77.0.0/25 of runtimeConfig.ipRanges[0][0]',
  );
  const alone = { ...host.config({}, { subnet: "10.77.0.0/16" }), type: "host-local" };
  const { json: error } = await host.call("ADD", undefined, alone, { containerId: "blue", netns });
  expect(error.msg).toBe('ipam.ranges[0][0]: "10.77.0.0/24" overlaps 10.77.0.0/16 of ipam');
});

test("DEL succeeds where there is no room for a line that the record is over", () => {
  using host = new CniHost();
  // The record is at the end of a page, and its lease is gone, so that forgetting frees nothing.
  const script = `
    call() { printf %s "$CONFIG" | CNI_COMMAND=$1 CNI_CONTAINERID=$2 "$CNI_PATH/host-local" >"$DIR/answer"; }
    mkdir "$DATA" && mount -t tmpfs -o size=64k none "$DATA" && call ADD blue || exit
    rm "$DATA/net/10.77.0.2"
    journal="$DATA/.weft/net"
    printf "\n%*s" $((4095 - $(stat -c %s "$journal"))) "" >>"$journal"
    dd if=/dev/zero of="$DATA/full" bs=4k 2>/dev/null
    call DEL blue && call DEL blue || exit
    call ADD red && exit 9
    cat "$DIR/answer"`;
  const { stdout, exitCode } = Bun.spawnSync(["unshare", "-m", "sh", "-c", script], {
    env: {
      PATH: process.env.PATH,
      CONFIG: JSON.stringify(small(host)),
      DIR: host.dir,
      DATA: host.dataDir,
      CNI_NETNS: netns,
      CNI_IFNAME: "eth0",
      CNI_PATH: ownPlugins,
    },
  });
  expect(exitCode).toBe(0);
  expect(JSON.parse(String(stdout))).toMatchObject({
    code: 5,
    msg: `cannot use the records of ${host.dataDir}/net (ENOSPC)`,
  });
});

straceTest("a release does not read what other containers have", async () => {
  using host = new CniHost();
  const config = { ...host.config(), type: "host-local" };
  for (const containerId of ["blue", "red"]) {
    await host.succeed("ADD", undefined, config, { containerId, netns });
  }
  for (let i = 10; i < 210; i++) {
    writeFileSync(join(host.dataDir, "net", `10.77.0.${i}`), `other${i}\r\neth0`);
  }
  const trace = join(host.dir, "trace");
  const child = host.node.in(() =>
    Bun.spawn(["strace", "-f", "-o", trace, "-e", "trace=openat", join(ownPlugins, "host-local")], {
      stdin: new TextEncoder().encode(JSON.stringify(config)),
      stdout: "pipe",
      stderr: "pipe",
      env: {
        CNI_COMMAND: "DEL",
        CNI_CONTAINERID: "blue",
        CNI_IFNAME: "eth0",
        CNI_NETNS: "",
        CNI_PATH: ownPlugins,
      },
    }),
  );
  expect(await child.exited).toBe(0);
  const opened = readFileSync(trace, "utf8")
    .split("\n")
    .filter((line) => line.includes(host.dataDir));
  expect(opened.length).toBeGreaterThan(2);
  expect(opened.length).toBeLessThan(12);
  expect(Object.values(host.leases())).not.toContain("blue/eth0");
  expect(Object.values(host.leases())).toContain("red/eth0");
});
