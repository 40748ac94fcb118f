import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { Tree } from "./tree.ts";

const minutes = 60_000;

describe("set-up", () => {
  let tree: Tree;
  let packages: string[];

  beforeAll(async () => {
    tree = new Tree();
    const { status, stderr } = await tree.setUp();
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringContaining("set-up: build: done in"),
    });
    packages = tree.listing("node_modules");
  }, 5 * minutes);
  afterAll(() => tree[Symbol.dispose]());

  const tag = async () => {
    const { stdout } = await tree.run(["dist/weft"]);
    return JSON.parse(stdout).tag;
  };

  test("makes the executables and one link for each plugin", async () => {
    expect(await tag()).toBe("0");
    expect(readdirSync(join(tree.path, "dist/cni")).sort()).toEqual(["bridge", "loopback"]);
    const { stdout } = await tree.run(["dist/cni/bridge"]);
    expect(stdout).toBe("plugin dist/cni/bridge\n");
  });

  test("says and does nothing when there is nothing to do", async () => {
    expect(await tree.setUp()).toEqual({ status: 0, signal: null, stdout: "", stderr: "" });
  });

  test("builds again what was changed, cut short or removed", async () => {
    tree.retag("changed");
    expect((await tree.setUp()).status).toBe(0);
    expect(await tag()).toBe("changed");
    truncateSync(join(tree.path, "dist/weft"), 1000);
    rmSync(join(tree.path, "dist/cni/bridge"));
    expect((await tree.setUp()).status).toBe(0);
    expect(await tag()).toBe("changed");
    expect(readdirSync(join(tree.path, "dist/cni")).sort()).toEqual(["bridge", "loopback"]);
  });

  test("takes no half-built or unbuildable source for the old one", async () => {
    tree.write("src/weft.ts", "const = ;\n");
    const broken = await tree.setUp();
    expect(broken.status).toBe(1);
    expect(broken.stderr).toContain("bun build src/weft.ts failed");
    tree.retag("mended");
    expect((await tree.setUp()).status).toBe(0);
    expect(await tag()).toBe("mended");
  });

  test("two at once both end well", async () => {
    tree.retag("together");
    const both = await Promise.all([tree.setUp(), tree.setUp()]);
    expect(both.map(({ status }) => status)).toEqual([0, 0]);
    expect(both.filter(({ stderr }) => stderr.includes("build: done in"))).toHaveLength(1);
    expect(await tag()).toBe("together");
  });

  test(
    "works again after being killed at any moment of a build",
    async () => {
      for (let kill = 0; kill < 12; kill++) {
        tree.retag(`kill ${kill}`);
        const child = tree.spawn(["node", "scripts/setup.mjs"]);
        await Bun.sleep(60 * kill);
        child.kill("SIGKILL");
        await child.exited;
      }
      const { status, stderr } = await tree.setUp();
      expect({ status, stderr }).toMatchObject({ status: 0 });
      expect(await tag()).toBe("kill 11");
      expect(readdirSync(join(tree.path, ".cache"))).toEqual(["setup.lock"]);
    },
    2 * minutes,
  );

  test(
    "works again after being killed at any moment of an installation",
    async () => {
      rmSync(join(tree.path, "node_modules"), { recursive: true });
      rmSync(join(tree.path, "dist"), { recursive: true });
      for (const after of [100, 300, 700, 1500, 2500, 3500, 4500]) {
        const child = tree.spawn(["node", "scripts/setup.mjs"]);
        await Bun.sleep(after);
        child.kill("SIGKILL");
        await child.exited;
      }
      const { status, stderr } = await tree.setUp();
      expect({ status, stderr }).toMatchObject({ status: 0 });
      expect(tree.listing("node_modules")).toEqual(packages);
      expect(await tag()).toBe("kill 11");
    },
    5 * minutes,
  );
});
