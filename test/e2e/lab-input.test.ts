/** What a user may type wrongly: one line that names what, where and the remedy; nothing is made. */
import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { needs, testWith } from "../lib/needs.ts";
import { hostState, LabHome, shell, until, weft } from "./lab-home.ts";

const home = new LabHome();
afterAll(() => home[Symbol.dispose]());

const labTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));

describe("bad input", () => {
  const cases: [string, string[], string][] = [
    [
      "overlapping prefixes",
      ["up", "--cluster-cidr", "10.96.0.0/12"],
      '--cluster-cidr: "10.96.0.0/12" overlaps --service-cidr "10.96.0.0/16", its default. Choose prefixes that share no address',
    ],
    [
      "overlapping prefixes, by what was typed",
      ["run", "--once", "--service-cidr", "10.244.0.0/24"],
      '--service-cidr: "10.244.0.0/24" overlaps --cluster-cidr "10.244.0.0/16", its default. Choose prefixes that share no address',
    ],
    [
      "addresses that are not unicast",
      ["up", "--cluster-cidr", "224.0.0.0/8"],
      '--cluster-cidr: "224.0.0.0/8" is not of unicast addresses that can be routed. Take a private network, such as 10.244.0.0/16 or fd00:10:244::/56',
    ],
    [
      "host bits",
      ["up", "--service-cidr", "10.96.0.1/16"],
      '--service-cidr: "10.96.0.1/16" has bits set behind its length. Write 10.96.0.0/16',
    ],
    [
      "the fabric's",
      ["up", "--cluster-cidr", "172.30.0.0/16"],
      '--cluster-cidr: "172.30.0.0/16" overlaps 172.30.0.0/24, the lab\'s own fabric. Choose a prefix that shares no address with 172.30.0.0/24',
    ],
    [
      "no room for the nodes",
      ["up", "--cluster-cidr", "10.1.0.0/24"],
      '--cluster-cidr: "10.1.0.0/24" has room for 1 of 3 podCIDRs of /24, one for each node. Give a /22 or larger, or fewer --nodes',
    ],
    [
      "no room for the node that joins",
      ["run", "--cluster-cidr", "fd00:1::/62", "--nodes", "4"],
      '--cluster-cidr: "fd00:1::/62" has room for 4 of 5 podCIDRs of /64, one for each node, of which 1 joins later. Give a /61 or larger, or fewer --nodes',
    ],
    [
      "no room for Services",
      ["up", "--service-cidr", "10.96.0.0/30"],
      '--service-cidr: "10.96.0.0/30" is too small for the cluster\'s DNS, which has its tenth address, and Services. Give a /27 or larger',
    ],
    [
      "families that do not meet",
      ["up", "--cluster-cidr", "10.1.0.0/16", "--service-cidr", "fd00:1::/112"],
      '--service-cidr: "fd00:1::/112" is of IPv6, of which --cluster-cidr "10.1.0.0/16" has no prefix. Give --cluster-cidr a prefix of IPv6 too, or --service-cidr one of IPv4 only',
    ],
    [
      "two of a family",
      ["up", "--cluster-cidr", "10.1.0.0/16,10.2.0.0/16"],
      '--cluster-cidr: "10.1.0.0/16,10.2.0.0/16" has two prefixes of one family. Give one IPv4 prefix, one IPv6 prefix, or one of each',
    ],
    [
      "no prefix",
      ["up", "--cluster-cidr", "pods"],
      '--cluster-cidr: "pods" is not a prefix. Write it like 10.244.0.0/16 or fd00:10:244::/56',
    ],
    ...["0", "1000", "three", "2.5", "-1"].map((nodes): [string, string[], string] => [
      `${nodes} nodes`,
      ["up", `--nodes=${nodes}`],
      `--nodes: "${nodes}" is not a whole number from 1 to 20. Write it like --nodes 3`,
    ]),
    [
      "a podCIDR without room for a pod",
      ["up", "--node-cidr-mask-size-ipv4", "31"],
      '--node-cidr-mask-size-ipv4: "31" is not a whole number from 8 to 30. Write it like --node-cidr-mask-size-ipv4 24',
    ],
    [
      "a port that is none",
      ["up", "--api-port", "65536"],
      '--api-port: "65536" is not a whole number from 0 to 65535. Give a free port of this machine, or 0 for any',
    ],
    [
      "a misspelt option",
      ["up", "--node", "3"],
      'weft lab up: there is no option "--node" (did you mean "--nodes"?). See weft lab up --help',
    ],
    [
      "an option of another verb",
      ["down", "--json"],
      'weft lab down: there is no option "--json". See weft lab down --help',
    ],
    [
      "a misspelt command",
      ["stauts"],
      'weft lab: there is no "stauts" (did you mean "status"?). See weft lab --help',
    ],
    [
      "help of what there is not",
      ["help", "stauts"],
      'weft lab: there is no "stauts" (did you mean "status"?). See weft lab --help',
    ],
    [
      "a command without --",
      ["exec", "blue", "ls", "-l"],
      'weft lab exec: the command goes behind "--". Write weft lab exec blue -- ls -l',
    ],
    [
      "nothing to run",
      ["exec", "blue", "--"],
      'weft lab exec: there is no command behind "--". See weft lab exec --help',
    ],
  ];
  for (const [what, args, message] of cases) {
    test(`${what}: one line, status 2, and nothing is made`, async () => {
      const logs = join(home.folder, "logs");
      mkdirSync(logs, { recursive: true });
      const ran = await home.run("bad", ["lab", ...args], { TMPDIR: logs });
      expect(ran).toEqual({ status: 2, stdout: "", stderr: `${message}\n` });
      expect(existsSync(join(home.folder, "bad"))).toBe(false);
      expect(readdirSync(logs)).toEqual([]);
    });
  }

  test.each(["status", "check", "kubeconfig", "exec"])("no lab: %s", async (verb) => {
    const args = verb === "exec" ? ["lab", verb, "blue", "--", "true"] : ["lab", verb];
    const ran = await home.run("none", args);
    expect(ran).toEqual({ status: 1, stdout: "", stderr: "no lab is running. Start one: weft lab up\n" });
  });

  test("an executable without the plugins beside it: one line, and nothing is made", async () => {
    const folder = join(home.folder, "alone");
    mkdirSync(folder);
    copyFileSync(weft, join(folder, "weft"));
    const child = Bun.spawnSync([join(folder, "weft"), "lab", "up"], {
      env: { ...process.env, WEFT_LAB_DIR: join(folder, "lab") },
    });
    expect({ status: child.exitCode, stderr: child.stderr.toString() }).toEqual({
      status: 1,
      stderr: `the plugin executable "${folder}/weft-cni" is not there. Build it (npm run build), and keep it beside the executable weft\n`,
    });
    expect(readdirSync(folder)).toEqual(["weft"]);
  });

  labTest(
    "plugins that do not work: says what it waits for, and ends when told to",
    async () => {
      const folder = join(home.folder, "broken");
      mkdirSync(folder);
      copyFileSync(weft, join(folder, "weft"));
      copyFileSync("/bin/true", join(folder, "weft-cni"));
      const child = Bun.spawn([join(folder, "weft"), "lab", "up", "--nodes", "1"], {
        env: { ...process.env, WEFT_LAB_DIR: join(folder, "lab") },
        stdout: "pipe",
      });
      await until(
        child.stdout,
        "Waiting up to 60 s for nodes to be ready: the agent of node-1 says cni-config: failing (the plugins in ",
      );
      child.kill("SIGINT");
      expect(await child.exited).toBe(130);
      expect(readdirSync(folder).sort()).toEqual(["weft", "weft-cni"]);
    },
    30_000,
  );

  labTest("a port in use: one error, and nothing is left", async () => {
    const taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    try {
      const { status, stderr } = await home.run("port", ["lab", "up", "--api-port", String(taken.port)]);
      expect({ status, stderr }).toEqual({
        status: 1,
        stderr: `--api-port: ${taken.port} is in use by another process on 127.0.0.1. Choose another port, or 0 for any free one\n`,
      });
      expect(existsSync(join(home.folder, "port"))).toBe(false);
    } finally {
      taken.stop();
    }
  });
});

describe("help", () => {
  const verbs = ["run", "up", "status", "check", "exec", "kubeconfig", "down"];
  const shape = [
    "--nodes N",
    "--api-port PORT",
    "--cluster-cidr PREFIX",
    "--service-cidr PREFIX",
    "--node-cidr-mask-size-ipv4 BITS",
    "--node-cidr-mask-size-ipv6 BITS",
  ];
  /** The options of the verbs that have some. */
  const options: Record<string, string[]> = {
    run: [...shape, "--once", "--with-parent"],
    up: shape,
    status: ["--json"],
    check: ["--json"],
    exec: ["-n, --namespace NAME"],
  };

  test.each(verbs)("%s --help tells of that verb alone, with an example", async (verb) => {
    const { status, stdout } = await home.run("help", ["lab", verb, "--help"]);
    expect(status).toBe(0);
    expect(stdout).toStartWith(`Usage: weft lab ${verb}`);
    expect(stdout).toContain(`\n  weft lab ${verb}`);
    const listed = stdout.split("\n").filter((line) => /^ +-/.test(line));
    const own = options[verb] ?? [];
    expect(listed.map((line) => own.find((option) => line.includes(`${option}`)))).toEqual(own);
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(120);
    for (const words of [
      ["lab", "help", verb],
      ["help", "lab", verb],
    ]) {
      expect(await home.run("help", words)).toEqual({ status: 0, stdout, stderr: "" });
    }
  });

  test("the page of the command names all verbs; without any it is shown, with status 2", async () => {
    const { status, stdout } = await home.run("help", ["lab", "--help"]);
    expect(status).toBe(0);
    for (const verb of verbs) expect(stdout).toContain(`\n  ${verb} `);
    expect(await home.run("help", ["lab"])).toEqual({ status: 2, stdout, stderr: "" });
  });
});

describe("the folder", () => {
  test.each([
    ["with somebody's files", "mkdir DIR; touch DIR/mine", 'holds what is no lab\'s, such as "mine"'],
    ["that others may write to", "mkdir -m 777 DIR", "can be written to by other users"],
  ])("%s is left alone", async (what, make, problem) => {
    const name = what.replaceAll(/[^a-z]/g, "-");
    const dir = join(home.folder, name);
    shell(make.replaceAll("DIR", dir));
    const before = shell(`ls -la ${dir}`);
    const ran = await home.run(name, ["lab", "up"]);
    const remedy = "Name a new folder, or an empty one of your own";
    expect(ran).toEqual({ status: 1, stdout: "", stderr: `$WEFT_LAB_DIR: "${dir}" ${problem}. ${remedy}\n` });
    expect(shell(`ls -la ${dir}`)).toBe(before);
  });

  test("that is none: the file stays", async () => {
    writeFileSync(join(home.folder, "file"), "");
    const ran = await home.run("file", ["lab", "up"]);
    expect(ran).toMatchObject({ status: 1, stdout: "" });
    expect(ran.stderr).toMatch(/^the folder ".*" cannot be made: EEXIST.* Name one .*\$WEFT_LAB_DIR\n$/);
  });

  test("whose sockets would have too long a path", async () => {
    const ran = await home.run("x".repeat(100), ["lab", "up"]);
    expect(ran.stderr).toMatch(
      / is too long for the sockets in it: \d+ bytes\. Name a folder of at most \d+ bytes\n$/,
    );
  });

  labTest(
    "is one lab's: of two that start together one comes up",
    async () => {
      const before = hostState();
      const both = await Promise.all([1, 2].map(() => home.run("both", ["lab", "up", "--nodes", "1"])));
      expect(both.map(({ status }) => status).sort()).toEqual([0, 1]);
      const refused = both.find(({ status }) => status === 1);
      expect(refused?.stderr).toMatch(/^(another lab is in|a lab runs already)[^\n]*\n$/);
      expect(await home.run("both", ["lab", "check"])).toMatchObject({ status: 0 });
      expect(await home.run("both", ["lab", "down"])).toMatchObject({ status: 0 });
      expect(existsSync(join(home.folder, "both"))).toBe(false);
      expect(hostState()).toEqual(before);
    },
    60_000,
  );
});
