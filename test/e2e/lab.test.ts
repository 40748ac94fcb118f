/**
 * The lab as a user runs it: the built executable, three nodes, five pods, and the host the same before and after.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LabStatus } from "../../src/lab/model.ts";
import { needs, testWith } from "../lib/needs.ts";

const weft = join(import.meta.dir, "..", "..", "dist", "weft");
const folder = mkdtempSync(join(tmpdir(), "weft-t-lab-"));

interface Ran {
  status: number;
  stdout: string;
  stderr: string;
}

/** Runs weft with a lab folder of the test's own. */
async function run(dir: string, args: string[], env: Record<string, string> = {}): Promise<Ran> {
  const child = Bun.spawn([weft, ...args], {
    env: { ...process.env, NO_COLOR: "1", WEFT_LAB_DIR: join(folder, dir), ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { status, stdout, stderr };
}

const shell = (command: string): string => Bun.spawnSync(["sh", "-c", command]).stdout.toString();

/** Namespaces of other tests and of benches, which come and go, are not the lab's doing. */
const withoutTests = (text: string) =>
  text
    .split("\n")
    .filter((line) => !/weft-(t|bench)-/.test(line))
    .join("\n");

/** What a lab must leave as it was on the host. */
const hostState = (): Record<string, string> => ({
  links: shell("ls /sys/class/net"),
  routes: shell("cat /proc/net/route /proc/net/ipv6_route; ip rule"),
  rules: shell("nft list ruleset 2>/dev/null"),
  netns: withoutTests(shell("ls /run/netns 2>/dev/null")),
  sysctls: shell(
    "sysctl -a 2>/dev/null | grep -E '^net\\.(ipv4|ipv6|netfilter)' | grep -vE 'count|random|stat|nf_log'",
  ),
  files: shell("ls -laR --time-style=full-iso /etc/cni /opt/cni /var/lib/cni 2>&1"),
  mounts: withoutTests(shell("cat /proc/self/mounts")),
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

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
      expect(
        (await lab("exec", pod.name, "--", "getent", "hosts", "blue.default.svc.cluster.local")).status,
      ).toBe(0);
      expect((await lab("exec", pod.name, "--", "sh", "-c", "exit 7")).status).toBe(7);
      expect((await lab("exec", "node-1", "--", "ip", "route", "show", "proto", "119")).stdout).toContain(
        "via 172.30.0.12",
      );
      expect((await lab("exec", "outside", "--", "hostname")).stdout).toBe("outside\n");
      const none = await lab("exec", "none", "--", "true");
      expect(none.status).toBe(1);
      expect(none.stderr).toContain(`there is no running pod "none" in namespace "default". There are blue-`);
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
    "is gone after down, and the host as it was",
    async () => {
      expect(await lab("down")).toMatchObject({ status: 0, stderr: "" });
      expect(hostState()).toEqual(before);
      const gone = await lab("status");
      expect(gone.status).toBe(1);
      expect(gone.stderr).toBe("no lab is running. Start one: weft lab up\n");
    },
    30_000,
  );
});

describe("a lab that is killed", () => {
  labTest(
    "takes everything with it",
    async () => {
      const before = hostState();
      const dir = join(folder, "killed");
      const child = Bun.spawn([weft, "lab", "run"], {
        env: { ...process.env, NO_COLOR: "1", WEFT_LAB_DIR: dir },
        stdin: "ignore",
        stdout: "pipe",
        stderr: "ignore",
      });
      const decoder = new TextDecoder();
      let seen = "";
      for await (const chunk of child.stdout) {
        seen += decoder.decode(chunk);
        if (seen.includes("nodes are ready")) break;
      }
      const keeper = JSON.parse(readFileSync(join(dir, "lab.json"), "utf8")).pid as number;
      child.kill("SIGKILL");
      await child.exited;
      const deadline = Date.now() + 20_000;
      while (existsSync(`/proc/${keeper}`) && Date.now() < deadline) await Bun.sleep(20);
      expect(existsSync(`/proc/${keeper}`)).toBe(false);
      expect(shell(`grep -lsa ${dir} /proc/[0-9]*/environ | xargs -r -n1 dirname`)).toBe("");
      expect(hostState()).toEqual(before);
    },
    60_000,
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

describe("Ctrl-C", () => {
  for (const moment of [0.1, 0.3, 0.6, 1.2]) {
    labTest(
      `after ${moment} s: ends soon, and nothing is left`,
      async () => {
        const dir = `interrupt-${moment}`;
        const child = Bun.spawn([weft, "lab", "run"], {
          env: { ...process.env, WEFT_LAB_DIR: join(folder, dir) },
          stdin: "ignore",
          stdout: "ignore",
          stderr: "ignore",
        });
        await Bun.sleep(moment * 1000);
        child.kill("SIGINT");
        expect(await Promise.race([child.exited, Bun.sleep(15_000).then(() => "still there")])).toBe(130);
        expect(existsSync(join(folder, dir))).toBe(false);
      },
      30_000,
    );
  }
});

describe("bad input", () => {
  const cases: [string, string[], string][] = [
    [
      "overlapping prefixes",
      ["lab", "up", "--cluster-cidr", "10.96.0.0/12"],
      'overlaps --service-cidr "10.96.0.0/16"',
    ],
    [
      "addresses that are not unicast",
      ["lab", "up", "--cluster-cidr", "224.0.0.0/8"],
      "is not of unicast addresses",
    ],
    ["host bits", ["lab", "up", "--cluster-cidr", "10.244.0.1/16"], "Write 10.244.0.0/16"],
    [
      "the fabric's",
      ["lab", "up", "--cluster-cidr", "172.30.0.0/16"],
      "overlaps 172.30.0.0/24, the lab's own fabric",
    ],
    [
      "too small",
      ["lab", "up", "--cluster-cidr", "10.1.0.0/24"],
      "has room for 1 of 3 podCIDRs of /24. Give a /22",
    ],
    ["no prefix", ["lab", "up", "--cluster-cidr", "pods"], "is not a prefix"],
    ["too many nodes", ["lab", "up", "--nodes", "99"], "is not a whole number from 1 to 20"],
    ["a misspelt option", ["lab", "up", "--node", "3"], '(did you mean "nodes"?)'],
    ["a misspelt command", ["lab", "stauts"], '(did you mean "status"?)'],
    ["no lab", ["lab", "check"], "no lab is running. Start one: weft lab up"],
  ];
  for (const [what, args, message] of cases) {
    test(`${what}: one error, and nothing is made`, async () => {
      const { status, stderr } = await run("bad", args);
      expect(status).not.toBe(0);
      expect(stderr).toContain(message);
      expect(stderr.trim().split("\n")).toHaveLength(1);
      expect(existsSync(join(folder, "bad"))).toBe(false);
    });
  }

  labTest("a port in use: one error, and nothing is left", async () => {
    const taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    try {
      const { status, stderr } = await run("port", ["lab", "up", "--api-port", String(taken.port)]);
      expect(status).not.toBe(0);
      expect(stderr).toContain(`--api-port: ${taken.port} is in use by another process on 127.0.0.1`);
      expect(existsSync(join(folder, "port"))).toBe(false);
    } finally {
      taken.stop();
    }
  });
});
