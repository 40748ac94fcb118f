/**
 * The lab as a user runs it: the built executable, three nodes, five pods, and the host the same before and after.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LabStatus } from "../../src/lab/model.ts";
import { needs, testWith } from "../lib/needs.ts";
import { eventually, hostState, LabHome, shell, weft } from "./lab-home.ts";

const home = new LabHome();
const { folder } = home;
const run = home.run.bind(home);

afterAll(() => home[Symbol.dispose]());

const labTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));

describe("weft lab run --once", () => {
  labTest(
    "passes its checks, tells its story, draws its picture and leaves the host as it was",
    async () => {
      const before = hostState();
      const { status, stdout, stderr } = await run("once", ["lab", "run", "--once"]);
      expect({ status, stderr, failed: stdout.split("\n").filter((line) => line.includes("✗")) }).toEqual({
        status: 0,
        stderr: "",
        failed: [],
      });
      for (const part of [
        "IPv4 without NAT",
        "IPv6 without NAT",
        "ClusterIP from nodes",
        "NodePort from the fabric",
        "as their node",
        "outside.weft.example, forwarded        172.30.0.200, fd00:172:30::200",
        "the node is removed",
        "node-3",
        "route 10.244.",
        "route fd00:10:244:",
      ]) {
        expect(stdout).toContain(part);
      }
      expect(hostState()).toEqual(before);
      expect(existsSync(join(folder, "once"))).toBe(false);
    },
    120_000,
  );
});

describe("weft lab up", () => {
  const dir = "up";
  const lab = (...args: string[]) => run(dir, ["lab", ...args]);
  const kubectl = (...args: string[]) =>
    Bun.spawnSync(["kubectl", "--kubeconfig", join(folder, dir, "kubeconfig"), ...args]).stdout.toString();
  let before: Record<string, string>;

  beforeAll(async () => {
    if (needs.root !== undefined) return;
    before = hostState();
    const { status, stderr } = await lab("up", "--nodes", "2");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  }, 120_000);

  afterAll(async () => {
    await lab("down");
  }, 60_000);

  labTest("shows its nodes, pods and routes", async () => {
    const status = JSON.parse((await lab("status", "--json")).stdout) as LabStatus;
    expect(status.phase).toBe("ready");
    expect(status.nodes.map(({ name, ready }) => [name, ready])).toEqual([
      ["node-1", true],
      ["node-2", true],
    ]);
    expect(status.nodes.flatMap(({ pods }) => pods).filter(({ ready }) => ready)).toHaveLength(5);
    for (const node of status.nodes) {
      expect(node.podCIDRs).toHaveLength(2);
      expect(node.routes).toHaveLength(2);
      expect(node.agent).toBe("running");
      expect(node.agentMemory).toBeGreaterThan(0);
      expect(node.agentMemory).toBeLessThan(80 * 1024 * 1024);
    }
  });

  labTest(
    "passes its checks again, for programs too",
    async () => {
      const { status, stdout } = await lab("check", "--json");
      const said = JSON.parse(stdout);
      expect(said.verdict).toMatchObject({ ok: true, failed: 0 });
      expect(said.checks.length).toBe(said.verdict.passed);
      expect(status).toBe(0);
    },
    60_000,
  );

  labTest(
    "runs commands in a pod, with its addresses, names and exit status",
    async () => {
      const status = JSON.parse((await lab("status", "--json")).stdout) as LabStatus;
      const pod = status.nodes.flatMap(({ pods }) => pods).find(({ ready }) => ready);
      if (pod === undefined) throw new Error("there is no ready pod");
      const links = await lab("exec", pod.name, "--", "ip", "-o", "address", "show", "eth0");
      for (const ip of pod.ips) expect(links.stdout).toContain(` ${ip}/`);
      expect((await lab("exec", pod.name, "--", "hostname")).stdout.trim()).toBe(pod.name);
      expect((await lab("exec", "deploy/blue", "--", "hostname")).stdout).toStartWith("blue-");
      expect(
        (await lab("exec", pod.name, "--", "getent", "hosts", "blue.default.svc.cluster.local")).status,
      ).toBe(0);
      expect((await lab("exec", pod.name, "--", "sh", "-c", "exit 7")).status).toBe(7);
      expect((await lab("exec", "node-1", "--", "ip", "route", "show", "proto", "119")).stdout).toContain(
        "via 172.30.0.12",
      );
      expect((await lab("exec", "outside", "--", "hostname")).stdout).toBe("outside\n");
      const inRun = Bun.spawnSync([weft, "lab", "exec", "node-1", "--", "pwd"], {
        cwd: "/run",
        env: { ...process.env, WEFT_LAB_DIR: join(folder, dir) },
      });
      expect(inRun.stdout.toString()).toBe("/\n");
      const none = await lab("exec", "none", "--", "true");
      expect(none.status).toBe(1);
      expect(none.stderr).toContain(`there is no running pod "none" in namespace "default". There are blue-`);
    },
    30_000,
  );

  testWith(needs.root, needs.command("dig", "bind9-dnsutils"))(
    "resolves names outside of the cluster, through the node's DNS in both families, and on the nodes",
    async () => {
      const status = JSON.parse((await lab("status", "--json")).stdout) as LabStatus;
      const pod = status.nodes.flatMap(({ pods }) => pods).find(({ ready }) => ready)?.name ?? "";
      const addresses = (text: string) => [...new Set(text.match(/^[0-9a-f.:]+/gm))].sort();
      const outside = ["172.30.0.200", "fd00:172:30::200"];
      for (const place of [pod, "node-1"]) {
        const found = await lab("exec", place, "--", "getent", "ahosts", "outside.weft.example");
        expect({ place, addresses: addresses(found.stdout) }).toEqual({ place, addresses: outside });
      }
      for (const server of ["10.96.0.10", "fd00:10:96::a"]) {
        for (const [type, address] of [
          ["A", outside[0]],
          ["AAAA", outside[1]],
        ] as const) {
          const dig = ["dig", "+tries=2", "+short", `@${server}`, "outside.weft.example", type];
          expect((await lab("exec", pod, "--", ...dig)).stdout.trim()).toBe(`${address}`);
        }
        const nobody = ["dig", "+tries=2", `@${server}`, "nobody.weft.example"];
        expect((await lab("exec", pod, "--", ...nobody)).stdout).toContain("status: NXDOMAIN");
      }
      const direct = ["dig", "+tcp", "+short", "@fd00:172:30::200", "weft.example", "NS"];
      expect((await lab("exec", "node-2", "--", ...direct)).stdout).toBe("outside.weft.example.\n");
    },
    30_000,
  );

  testWith(needs.root, needs.command("kubectl", "kubernetes-client"))("answers kubectl", () => {
    expect(kubectl("get", "nodes", "-o", "name").trim().split("\n")).toEqual(["node/node-1", "node/node-2"]);
    expect(kubectl("get", "deployment", "blue", "-o", "jsonpath={.status.readyReplicas}")).toBe("5");
  });

  labTest("refuses a second lab in the same folder", async () => {
    const { status, stderr } = await lab("up");
    expect(status).not.toBe(0);
    expect(stderr).toMatch(
      /^a lab runs already, by process \d+\. Use it \(weft lab status\), end it \(weft lab down\)/,
    );
  });

  labTest(
    "tells of an agent that has ended, and which checks fail for want of it, in bounded time",
    async () => {
      await lab("exec", "node-2", "--", "pkill", "-KILL", "-f", "agent --node node-2 ");
      await eventually("the lab hears of it", async () => {
        const { nodes } = JSON.parse((await lab("status", "--json")).stdout) as LabStatus;
        return nodes.map(({ agent }) => agent).join() === "running,ended";
      });
      expect((await lab("status")).stdout).toContain("  ready, its agent has ended\n");
      const { status, stdout } = await lab("check");
      expect(status).toBe(1);
      expect(stdout).toMatch(/\n[0-9]+ of 19 checks failed; no agent runs any more on node-2\n/);
      expect(stdout).toMatch(/✗ blue\.default\.svc\.cluster\.local +blue-\S+: /);
    },
    90_000,
  );

  labTest(
    "is gone after down, and the host as it was",
    async () => {
      expect(await lab("down")).toMatchObject({ status: 0, stderr: "" });
      expect(hostState()).toEqual(before);
      const gone = await lab("status");
      expect(gone.status).toBe(1);
      expect(gone.stderr).toBe("no lab is running. Start one: weft lab up\n");
      expect(await lab("down")).toEqual({ status: 0, stdout: "No lab is running.\n", stderr: "" });
    },
    30_000,
  );
});

/** A user without rights, by number, as which the machine's programs can be run. */
const nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
const userNamespaces = Bun.spawnSync([
  ...nobody,
  "unshare",
  "--user",
  "--map-root-user",
  "--net",
  "true",
]).success;

describe("a user without root", () => {
  testWith(needs.root, needs.that(userNamespaces, "a kernel that lets users make namespaces"))(
    "gets the whole lab",
    async () => {
      const dir = mkdtempSync(join(tmpdir(), "weft-t-user-"));
      try {
        shell(`cp ${weft} ${weft}-cni ${dir}; chown -R 65534:65534 ${dir}`);
        const child = Bun.spawn([...nobody, join(dir, "weft"), "lab", "run", "--once"], {
          cwd: dir,
          env: { PATH: process.env.PATH ?? "", HOME: dir, WEFT_LAB_DIR: join(dir, "lab") },
          stdin: "ignore",
          stdout: "pipe",
          stderr: "pipe",
        });
        const [stdout, stderr] = await Promise.all([
          new Response(child.stdout).text(),
          new Response(child.stderr).text(),
        ]);
        const failed = stdout.split("\n").filter((line) => line.includes("✗"));
        expect({ status: await child.exited, stderr, failed }).toEqual({ status: 0, stderr: "", failed: [] });
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    },
    120_000,
  );

  testWith(needs.root)("is told in one sentence where the kernel does not let them", async () => {
    const dir = mkdtempSync(join(tmpdir(), "weft-t-user-"));
    try {
      // In a user namespace that allows no further ones.
      const child = Bun.spawn(
        [
          ...["unshare", "--user", "--map-root-user", "sh", "-c"],
          `echo 0 >/proc/sys/user/max_user_namespaces; echo 0 >/proc/sys/user/max_net_namespaces; exec ${weft} lab up`,
        ],
        {
          env: { PATH: process.env.PATH ?? "", WEFT_LAB_DIR: join(dir, "lab") },
          stdout: "pipe",
          stderr: "pipe",
        },
      );
      const stderr = await new Response(child.stderr).text();
      expect(await child.exited).toBe(1);
      expect(stderr).toContain("the lab needs namespaces of its own, which the kernel refuses");
      expect(stderr.trim().split("\n")).toHaveLength(1);
      expect(existsSync(join(dir, "lab"))).toBe(false);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

describe("one family", () => {
  for (const [family, cidr] of [
    [4, "10.1.0.0/16"],
    [6, "fd01::/48"],
  ] as const) {
    labTest(
      `IPv${family}: checks and story are of that family alone`,
      async () => {
        const { status, stdout, stderr } = await run("single", [
          "lab",
          "run",
          "--once",
          "--cluster-cidr",
          cidr,
        ]);
        const failed = stdout.split("\n").filter((line) => line.includes("✗"));
        expect({ status, stderr, failed }).toEqual({ status: 0, stderr: "", failed: [] });
        expect(stdout).toContain(`IPv${family} without NAT`);
        expect(stdout).not.toContain(`IPv${10 - family} without NAT`);
      },
      120_000,
    );
  }
});

labTest(
  "nodes whose podCIDRs are of other lengths than usual",
  async () => {
    const cidrs = ["--cluster-cidr", "10.1.0.0/24,fd01::/70", "--node-cidr-mask-size-ipv4", "26"];
    const masks = ["--node-cidr-mask-size-ipv6", "72", "--nodes", "2"];
    const { status, stdout, stderr } = await run("masks", ["lab", "run", "--once", ...cidrs, ...masks]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/weft0 {2}10\.1\.0\.1\/26 {2}fd01::[0-9a-f:]*1\/72\n/);
  },
  60_000,
);

describe("a machine whose resolv.conf is a link into /run", () => {
  /** In mounts of its own, which end with it: the machine's /etc, changed, and another /run. */
  const machine = (dir: string, script: string) => `
    set -e
    mkdir -p ${dir} && mount -t tmpfs tmpfs ${dir} && mkdir ${dir}/upper ${dir}/work
    mount -t overlay overlay -o lowerdir=/etc,upperdir=${dir}/upper,workdir=${dir}/work /etc
    mount -t tmpfs tmpfs /run
    mkdir -p /run/systemd/resolve && echo nameserver 127.0.0.53 >/run/systemd/resolve/stub-resolv.conf
    rm -f /etc/resolv.conf && ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
    ${script}`;
  const started = (name: string, script: string) => {
    const shell = ["sh", "-c", machine(join(folder, `${name}-etc`), script)];
    const { exitCode, stdout, stderr } = Bun.spawnSync(["unshare", "--mount", ...shell], {
      env: { ...process.env, NO_COLOR: "1", WEFT_LAB_DIR: join(folder, name) },
    });
    return { status: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
  };
  const overlays = needs.root === undefined && started("overlay", "true").status === 0;
  const overlayTest = testWith(needs.root, needs.that(overlays, "a kernel with overlayfs"));

  overlayTest(
    "has a lab whose nodes and pods find their own name servers",
    () => {
      const { status, stdout, stderr } = started(
        "linked",
        `${weft} lab up --nodes 1 && ${weft} lab check && ${weft} lab exec node-1 -- cat /etc/resolv.conf
         cat /etc/resolv.conf; ${weft} lab down`,
      );
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      expect(stdout).toMatch(/All \d+ checks passed/);
      expect(stdout).toEndWith(
        "nameserver 172.30.0.200\nnameserver fd00:172:30::200\nnameserver 127.0.0.53\nThe lab is down.\n",
      );
    },
    60_000,
  );

  overlayTest("is told where there is none, and nothing is made", () => {
    const { status, stdout, stderr } = started("bare", `rm /etc/resolv.conf; exec ${weft} lab up`);
    expect({ status, stdout, stderr }).toEqual({
      status: 1,
      stdout: "",
      stderr:
        "there is no /etc/resolv.conf on this machine, where the lab's could appear. Make one; it may be empty: touch /etc/resolv.conf\n",
    });
    expect(existsSync(join(folder, "bare"))).toBe(false);
  });
});
