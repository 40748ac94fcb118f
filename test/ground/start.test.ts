import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { needs, testWith } from "../lib/needs.ts";
import { Tree } from "./tree.ts";

/** Reads a stream until it has shown a text. */
async function until(stream: ReadableStream<Uint8Array>, text: string): Promise<void> {
  const decoder = new TextDecoder();
  let seen = "";
  for await (const chunk of stream) {
    seen += decoder.decode(chunk, { stream: true });
    if (seen.includes(text)) return;
  }
  throw new Error(`the stream ended without "${text}": ${seen}`);
}

/** The processes whose command line or working folder is in a folder, the reader's own excepted. */
function processesIn(folder: string): string[] {
  const { stdout } = Bun.spawnSync([
    "sh",
    "-c",
    'readlink /proc/[0-9]*/cwd /proc/[0-9]*/exe | grep -F "$1"',
    "sh",
    folder,
  ]);
  return stdout.toString().split("\n").filter(Boolean);
}

async function noneLeftIn(folder: string): Promise<void> {
  const deadline = Date.now() + 5000;
  while (processesIn(folder).length > 0) {
    if (Date.now() > deadline) throw new Error(`still running in ${folder}: ${processesIn(folder)}`);
    await Bun.sleep(20);
  }
}

describe("npm start", () => {
  let tree: Tree;

  beforeAll(async () => {
    tree = new Tree();
    const { status, stderr } = await tree.setUp();
    expect({ status, stderr }).toMatchObject({ status: 0 });
  }, 300_000);
  afterAll(() => tree[Symbol.dispose]());

  test("passes what follows -- to weft lab run, and tells it that npm is its parent", async () => {
    const { stdout } = await tree.run(["npm", "start", "--silent", "--", "--once", "a b", "$x", "'"]);
    const { args, parent } = JSON.parse(stdout);
    expect(args).toEqual(["lab", "run", "--with-parent", `${parent}`, "--once", "a b", "$x", "'"]);
  });

  test.each([0, 1, 7])("ends with the program's exit status, %i", async (status) => {
    expect((await tree.run(["npm", "start", "--", "--status", `${status}`])).status).toBe(status);
  });

  test("fails when the program is killed", async () => {
    expect((await tree.run(["npm", "start", "--", "--die"])).status).not.toBe(0);
  });

  test("leaves standard input to the program", async () => {
    expect((await tree.run(["npm", "start", "--", "--cat"], { input: "hello" })).stdout).toContain(
      "read hello\n",
    );
  });

  test.each([
    ["SIGINT", 42],
    ["SIGTERM", 43],
  ] as const)("passes %s on to the program and ends with it", async (signal, status) => {
    const child = tree.spawn(["npm", "start", "--", "--wait"]);
    await until(child.stdout, "waiting");
    child.kill(signal);
    expect(await child.exited).toBe(status);
    await noneLeftIn(tree.path);
  });

  test("Ctrl-C, which a terminal sends to all of them, ends all of them", async () => {
    const child = tree.spawn(["npm", "start", "--", "--wait"]);
    await until(child.stdout, "waiting");
    process.kill(-child.pid, "SIGINT");
    expect(await child.exited).toBe(42);
    await noneLeftIn(tree.path);
  });

  test.each(["SIGINT", "SIGTERM"] as const)(
    "%s to npm ends a set-up half-way, and the next one works",
    async (signal) => {
      rmSync(join(tree.path, "node_modules"), { recursive: true });
      rmSync(join(tree.path, "dist"), { recursive: true });
      const child = tree.spawn(["npm", "start", "--", "--status", "0"]);
      await until(child.stderr, "npm packages ...");
      child.kill(signal);
      expect(await child.exited).not.toBe(0);
      await noneLeftIn(tree.path);
      expect((await tree.run(["npm", "start", "--", "--status", "5"])).status).toBe(5);
    },
    60_000,
  );

  const asRoot = testWith(needs.root);

  asRoot("starts for a user who may only read the tree, once it is built", async () => {
    chmodSync(tree.path, 0o755);
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    const started = await tree.run([...nobody, "npm", "start", "--", "--status", "9"], {
      env: { HOME: "/nonexistent" },
    });
    expect(started).toMatchObject({ status: 9 });
    tree.retag("newer");
    const stale = await tree.run([...nobody, "npm", "start"], { env: { HOME: "/nonexistent" } });
    expect(stale.status).toBe(1);
    expect(stale.stderr).toContain('is not writable by user 65534.\nRun "npm run build" as the owner');
  });
});
