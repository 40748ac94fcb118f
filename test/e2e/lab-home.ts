import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The executable as a user has it. */
export const weft = join(import.meta.dir, "..", "..", "dist", "weft");

export interface Ran {
  status: number;
  stdout: string;
  stderr: string;
}

/** A folder of a test's own for its labs' folders. */
export class LabHome {
  readonly folder = mkdtempSync(join(tmpdir(), "weft-t-lab-"));

  /** Starts weft with a lab folder in this one. */
  spawn(dir: string, args: readonly string[], env: Record<string, string> = {}) {
    return Bun.spawn([weft, ...args], {
      env: { ...process.env, NO_COLOR: "1", WEFT_LAB_DIR: join(this.folder, dir), ...env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
  }

  /** The same to its end. */
  async run(dir: string, args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
    const child = this.spawn(dir, args, env);
    const [stdout, stderr, status] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { status, stdout, stderr };
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const shell = (command: string): string => Bun.spawnSync(["sh", "-c", command]).stdout.toString();

/** Namespaces of other tests and of benches, which come and go, are not the lab's doing. */
const withoutTests = (text: string) =>
  text
    .split("\n")
    .filter((line) => !/weft-(t|bench)-/.test(line))
    .join("\n");

/** What a lab must leave as it was on the host. */
export const hostState = (): Record<string, string> => ({
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

/** Reads what a process prints until a text has come; goes on reading, so that it can go on writing. */
export async function until(stream: ReadableStream<Uint8Array>, text: string): Promise<void> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let seen = "";
  while (!seen.includes(text)) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`it ended without "${text}": ${seen}`);
    seen += decoder.decode(value, { stream: true });
  }
  const drain = async () => {
    while (!(await reader.read()).done);
  };
  drain().catch(() => {});
}

/** Waits for something that comes by itself, at most 20 seconds. */
export async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited 20 s: ${what}`);
    await Bun.sleep(20);
  }
}
