/** However a lab ends, and whoever ends it: nothing of it stays. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { needs, testWith } from "../lib/needs.ts";
import { eventually, hostState, LabHome, shell, until, weft } from "./lab-home.ts";

const home = new LabHome();
afterAll(() => home[Symbol.dispose]());

const labTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));

/** The processes of a lab, by the folder that all but its pods have in their environment. */
const processesOf = (dir: string) => shell(`grep -lsaF ${join(home.folder, dir)} /proc/[0-9]*/environ`);

const keeperOf = (dir: string): number =>
  JSON.parse(readFileSync(join(home.folder, dir, "lab.json"), "utf8")).pid;

async function gone(dir: string, before: Record<string, string>): Promise<void> {
  await eventually(`processes of ${dir} end`, () => processesOf(dir) === "");
  await eventually(`the folder of ${dir} goes`, () => !existsSync(join(home.folder, dir)));
  expect(hostState()).toEqual(before);
}

describe("killed", () => {
  labTest(
    "weft lab run: takes everything with it",
    async () => {
      const before = hostState();
      const child = home.spawn("killed", ["lab", "run"]);
      await until(child.stdout, "nodes are ready");
      child.kill("SIGKILL");
      await gone("killed", before);
    },
    60_000,
  );

  labTest(
    "the process that keeps it: weft lab run says so, and ends",
    async () => {
      const before = hostState();
      const child = home.spawn("keeper", ["lab", "run"], { TMPDIR: home.folder });
      await until(child.stdout, "nodes are ready");
      process.kill(keeperOf("keeper"), "SIGKILL");
      expect(await child.exited).toBe(1);
      expect(await child.stderr.text()).toMatch(/^the lab (ended|does not answer)[^\n]*\n$/);
      await gone("keeper", before);
    },
    60_000,
  );

  labTest(
    "the process that keeps one that was left running: the next one begins where it was",
    async () => {
      const before = hostState();
      expect(await home.run("left", ["lab", "up", "--nodes", "1"])).toMatchObject({ status: 0 });
      process.kill(keeperOf("left"), "SIGKILL");
      await eventually("its processes end", () => processesOf("left") === "");
      expect(await home.run("left", ["lab", "up", "--nodes", "1"])).toMatchObject({ status: 0 });
      expect(await home.run("left", ["lab", "down"])).toMatchObject({ status: 0 });
      await gone("left", before);
    },
    60_000,
  );
});

describe("a parent that is killed", () => {
  /** A shell in npm's place, which starts weft as npm start does, or as a background job. */
  const parent = (dir: string, script: string) =>
    Bun.spawn(["sh", "-c", script], {
      env: { ...process.env, NO_COLOR: "1", WEFT_LAB_DIR: join(home.folder, dir) },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "ignore",
    });

  labTest(
    "ends a lab that was told to end with it",
    async () => {
      const before = hostState();
      const npm = parent("npm", `sh -c 'true && exec ${weft} lab run --with-parent $PPID'; true`);
      await until(npm.stdout, "nodes are ready");
      npm.kill("SIGKILL");
      await gone("npm", before);
    },
    60_000,
  );

  labTest(
    "leaves any other alone",
    async () => {
      const before = hostState();
      const user = parent("job", `${weft} lab run --nodes 1 & wait`);
      await until(user.stdout, "The lab is up");
      user.kill("SIGKILL");
      await user.exited;
      expect(await home.run("job", ["lab", "check"])).toMatchObject({ status: 0 });
      expect(await home.run("job", ["lab", "down"])).toMatchObject({ status: 0 });
      await gone("job", before);
    },
    60_000,
  );

  test("is no parent where it is another process", async () => {
    const { status, stderr } = await home.run("other", ["lab", "run", "--with-parent", "1"]);
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr:
        "--with-parent: 1 is not the process that started this one, or has ended. Leave it out: it is for npm start\n",
    });
    expect(existsSync(join(home.folder, "other"))).toBe(false);
  });
});

labTest(
  "a reader that ends, as in weft lab run | head: ends it in order",
  async () => {
    const before = hostState();
    const child = home.spawn("head", ["lab", "run"]);
    const reader = child.stdout.getReader();
    await reader.read();
    await reader.cancel();
    expect(await child.exited).toBe(130);
    expect(await child.stderr.text()).toBe("");
    await gone("head", before);
  },
  60_000,
);

labTest(
  "one that is just coming up: says so to whoever asks, and ends when told to",
  async () => {
    const before = hostState();
    const child = home.spawn("early", ["lab", "up"]);
    await until(child.stdout, "The control plane answers");
    const [status, check] = await Promise.all([
      home.run("early", ["lab", "status"]),
      home.run("early", ["lab", "check"]),
    ]);
    expect(status).toMatchObject({ status: 0, stdout: expect.stringContaining("The lab is starting\n") });
    expect(check).toMatchObject({
      status: 1,
      stdout: "the lab is starting. Wait until it is ready: weft lab status\n\n",
    });
    expect(await home.run("early", ["lab", "down"])).toMatchObject({ status: 0 });
    expect(await child.exited).toBe(1);
    await gone("early", before);
  },
  60_000,
);

/** The processes of a PID namespace, as `readlink` shows it. */
const processesIn = (namespace: string) => shell(`ls -l /proc/[0-9]*/ns/pid | grep -F '${namespace}'`);

describe("Ctrl-C", () => {
  labTest(
    "when the pods are up: no process is left when it returns",
    async () => {
      const child = home.spawn("interrupt-late", ["lab", "run"]);
      await until(child.stdout, "All 19 checks passed");
      const namespace = shell(
        `readlink /proc/$(pgrep -P $(pgrep -P ${keeperOf("interrupt-late")}))/ns/pid`,
      ).trim();
      expect(processesIn(namespace)).toContain("/ns/pid");
      child.kill("SIGINT");
      expect(await child.exited).toBe(130);
      expect(processesIn(namespace)).toBe("");
    },
    60_000,
  );

  for (const moment of [0.1, 0.3, 0.6, 1.2]) {
    labTest(
      `after ${moment} s: ends soon, and nothing is left`,
      async () => {
        const dir = `interrupt-${moment}`;
        const child = home.spawn(dir, ["lab", "run"]);
        await Bun.sleep(moment * 1000);
        child.kill("SIGINT");
        expect(await Promise.race([child.exited, Bun.sleep(15_000).then(() => "still there")])).toBe(130);
        expect(existsSync(join(home.folder, dir))).toBe(false);
      },
      30_000,
    );
  }
});
