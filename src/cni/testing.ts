import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CniError } from "./errors.ts";
import { parseNetworkList } from "./list.ts";
import { type Attachment, CniRuntime, type RuntimeOptions } from "./runtime.ts";

/* The scene of the runtime's tests. */

let folder: string | undefined;
let count = 0;

/** For the `afterAll` of each test file. */
export function removeGrounds(): void {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  folder = undefined;
}

function newFolder(): string {
  folder ??= mkdtempSync(join(tmpdir(), "weft-t-runtime-"));
  const dir = join(folder, String(count++));
  mkdirSync(dir);
  return dir;
}

/** A runtime with plugins that are shell scripts, each of which first notes its call. */
export class Ground {
  readonly dir = newFolder();
  readonly warnings: string[] = [];

  constructor(scripts: Readonly<Record<string, string>>) {
    for (const [name, script] of Object.entries(scripts)) {
      const note = `echo "$CNI_COMMAND ${name}" >> ${this.dir}/calls; cat > ${this.dir}/${name}.$CNI_COMMAND; env > ${this.dir}/env`;
      writeFileSync(join(this.dir, name), `#!/bin/sh\n${note}\n${script}\n`);
      chmodSync(join(this.dir, name), 0o755);
    }
  }

  runtime(options: Partial<RuntimeOptions> = {}): CniRuntime {
    return new CniRuntime({
      path: [join(this.dir, "nowhere"), this.dir],
      cacheDir: join(this.dir, "cache"),
      onWarning: (message) => this.warnings.push(message),
      ...options,
    });
  }

  /** "ADD a", "ADD b", ... */
  calls(): string[] {
    const path = join(this.dir, "calls");
    return existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
  }

  stdin(name: string, command: string) {
    return JSON.parse(readFileSync(join(this.dir, `${name}.${command}`), "utf8"));
  }

  env(): Record<string, string> {
    const lines = readFileSync(join(this.dir, "env"), "utf8").split("\n");
    return Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2)));
  }

  cached(): string[] {
    const path = join(this.dir, "cache/results");
    return existsSync(path) ? readdirSync(path) : [];
  }
}

/** A list of plugins, version 1.1.0. */
export const list = (plugins: unknown[], more = {}) =>
  parseNetworkList(JSON.stringify({ cniVersion: "1.1.0", name: "net", plugins, ...more }));
/** An attachment. */
export const blue: Attachment = { containerId: "blue", ifname: "eth0", netns: "/run/netns/blue" };
/** What a plugin prints for an address. */
export const result = (address: string) => `{"cniVersion":"1.1.0","ips":[{"address":"${address}"}]}`;
/** The script of a plugin that gives this address. */
export const answer = (address: string) => `[ "$CNI_COMMAND" = ADD ] && echo '${result(address)}'; exit 0`;
/** The script of a plugin that fails. */
export const fail = (code: number, msg: string) =>
  `echo '{"code":${code},"msg":"${msg}","details":"more"}'; exit 1`;

/** What the promise fails with. */
export async function errorOf(promise: Promise<unknown>): Promise<CniError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error("it succeeded");
}

/** Resolves when it is so. */
export async function until(isSo: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 5000; Date.now() < deadline; await Bun.sleep(5)) if (isSo()) return;
  throw new Error("it did not become so");
}
