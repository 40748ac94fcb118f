/** The runners themselves: a guest runs a command as the machine would, under another kernel. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { describeWith, needs } from "../lib/needs.ts";

/** The first run of vm-run fetches its kernel. */
const slow = 150_000;

async function inGuest(runner: string, options: string[], command: string[]) {
  const child = Bun.spawn([join(import.meta.dir, runner), ...options, "--", ...command], {
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, WEFT_GREETING: "hello from outside" },
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { status: await child.exited, stdout, stderr };
}

const runners = [
  { runner: "uml-run", needed: needs.uml },
  { runner: "vm-run", needed: needs.vm },
];

describe.each(runners)("$runner", ({ runner, needed }) => {
  describeWith(needs.root, needed)("a guest", () => {
    test(
      "has another kernel and a /run of its own, our environment and files, and passes on output and status",
      async () => {
        const folder = mkdtempSync(join(tmpdir(), "weft-t-guest-"));
        try {
          const script = `
            uname -r; echo "$WEFT_GREETING"; pwd; echo aside >&2
            echo inside >${folder}/file; echo inside >/run/weft-t-guest; cat /run/weft-t-guest; exit 7`;
          const { status, stdout, stderr } = await inGuest(runner, [], ["sh", "-c", script]);
          const [kernel, ...rest] = stdout.split("\n");
          expect({ status, rest, stderr }).toEqual({
            status: 7,
            rest: ["hello from outside", process.cwd(), "inside", ""],
            stderr: "aside\n",
          });
          expect(kernel).toMatch(/^\d+\.\d+/);
          expect(kernel).not.toBe(release());
          expect(await Bun.file(join(folder, "file")).text()).toBe("inside\n");
          expect(existsSync("/run/weft-t-guest")).toBe(false);
        } finally {
          rmSync(folder, { recursive: true });
        }
      },
      slow,
    );

    test(
      "makes the links that this machine may lack, unseen by this machine",
      async () => {
        const before = readdirSync("/sys/class/net").sort();
        const script = `
        set -e
        ip link add weft-d0 type dummy
        ip link add link weft-d0 weft-v5 type vlan id 5
        ip link add weft-r0 type vrf table 10
        ip link add weft-i0 type ipip local 127.0.0.1 remote 127.0.0.2
        ip -details -oneline link show | sed -n 's/^[0-9]*: \\(weft-[a-z0-9]*\\)[@:].* \\(dummy\\|vlan\\|vrf\\|ipip\\) .*/\\1 \\2/p'`;
        const { status, stdout, stderr } = await inGuest(runner, [], ["sh", "-c", script]);
        expect({ status, stderr, links: stdout.trim().split("\n") }).toEqual({
          status: 0,
          stderr: "",
          links: ["weft-d0 dummy", "weft-v5 vlan", "weft-r0 vrf", "weft-i0 ipip"],
        });
        expect(readdirSync("/sys/class/net").sort()).toEqual(before);
      },
      slow,
    );

    test(
      "ends when its time is over, and leaves no folder behind",
      async () => {
        const tmp = () => readdirSync("/tmp").filter((name) => name.startsWith(`${runner}.`));
        const before = tmp();
        const { status, stderr } = await inGuest(runner, ["-t", "4"], ["sleep", "60"]);
        expect({ status, stderr }).toEqual({ status: 124, stderr: `${runner}: timed out after 4 s\n` });
        expect(tmp().filter((name) => !before.includes(name))).toEqual([]);
      },
      slow,
    );
  });

  test("its options are refused with the usage when they are wrong", async () => {
    const { status, stderr } = await inGuest(runner, ["--fast"], ["true"]);
    expect(status).toBe(125);
    expect(stderr).toContain(`usage: ${runner}`);
  });
});
