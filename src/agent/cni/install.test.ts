import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  installationState,
  installPlugins,
  removeWritten,
  uninstallPlugins,
  writeAtomically,
} from "./install.ts";

let dir: string;
let source: string;
let bin: string;
const plugins = ["bridge", "portmap"];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "weft-install-"));
  source = join(dir, "weft-cni");
  bin = join(dir, "bin");
  writeFileSync(source, "executable", { mode: 0o755 });
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

const listed = () => readdirSync(bin).sort();

describe("installPlugins", () => {
  for (const mode of ["copy", "link"] as const) {
    test(`${mode}: makes the executable and a link for each plugin, and nothing the second time`, async () => {
      expect(await installPlugins(source, bin, plugins, mode)).toBe(3);
      expect(listed()).toEqual(["bridge", "portmap", "weft-cni"]);
      expect(readlinkSync(join(bin, "bridge"))).toBe("weft-cni");
      expect(readFileSync(join(bin, "portmap"), "utf8")).toBe("executable");
      expect(lstatSync(join(bin, "weft-cni")).isSymbolicLink()).toBe(mode === "link");
      expect(lstatSync(join(bin, "bridge")).mode & 0o111).not.toBe(0);
      const state = installationState(source, bin, plugins);
      expect(state).toBeDefined();
      expect(await installPlugins(source, bin, plugins, mode)).toBe(0);
      expect(installationState(source, bin, plugins)).toBe(state as string);
      rmSync(join(bin, "portmap"));
      expect(installationState(source, bin, plugins)).toBeUndefined();
      expect(await installPlugins(source, bin, plugins, mode)).toBe(1);
    });
  }

  test("copies a newer executable over an older one", async () => {
    await installPlugins(source, bin, plugins, "copy");
    writeFileSync(source, "EXECUTABLE");
    expect(await installPlugins(source, bin, plugins, "copy")).toBe(1);
    expect(readFileSync(join(bin, "bridge"), "utf8")).toBe("EXECUTABLE");
  });

  test("sets another's plugin aside, and cleanup puts it back", async () => {
    mkdirSync(bin);
    writeFileSync(join(bin, "bridge"), "another's");
    writeFileSync(join(bin, "macvlan"), "untouched");
    await installPlugins(source, bin, plugins, "link");
    expect(readFileSync(join(bin, "bridge"), "utf8")).toBe("executable");
    uninstallPlugins(bin, plugins);
    expect(listed()).toEqual(["bridge", "macvlan"]);
    expect(readFileSync(join(bin, "bridge"), "utf8")).toBe("another's");
    uninstallPlugins(bin, plugins);
    expect(listed()).toEqual(["bridge", "macvlan"]);
  });

  test("finds a difference in the last byte of a large file", async () => {
    const large = Buffer.alloc(1_000_001, "x");
    writeFileSync(source, large, { mode: 0o755 });
    await installPlugins(source, bin, plugins, "copy");
    expect(await installPlugins(source, bin, plugins, "copy")).toBe(0);
    large[1_000_000] = 0;
    writeFileSync(source, large);
    expect(await installPlugins(source, bin, plugins, "copy")).toBe(1);
    expect(await installPlugins(source, bin, plugins, "copy")).toBe(0);
  });

  test("writes over what a killed agent was writing, and cleanup removes it", async () => {
    mkdirSync(bin);
    for (const name of ["weft-cni", "bridge"]) writeFileSync(join(bin, `${name}.weft-tmp`), "half");
    await installPlugins(source, bin, plugins, "copy");
    expect(listed()).toEqual(["bridge", "portmap", "weft-cni"]);
    writeFileSync(join(bin, "weft-cni.weft-tmp"), "half");
    expect(uninstallPlugins(bin, plugins)).toBe(3);
    expect(listed()).toEqual([]);
    expect(uninstallPlugins(bin, plugins)).toBe(0);
  });

  test("says what to do where there is no executable", async () => {
    const none = installPlugins(join(dir, "none"), bin, plugins, "copy");
    await expect(none).rejects.toThrow(/is not there/);
  });
});

test("writeAtomically makes the folder and leaves no temporary file; removeWritten leaves none of a killed one", () => {
  const path = join(dir, "net.d", "10-weft.conflist");
  writeAtomically(path, "one");
  writeAtomically(path, "two");
  expect(readFileSync(path, "utf8")).toBe("two");
  expect(readdirSync(join(dir, "net.d"))).toEqual(["10-weft.conflist"]);
  writeFileSync(`${path}.weft-tmp`, "half");
  expect(removeWritten(path)).toBe(true);
  expect(readdirSync(join(dir, "net.d"))).toEqual([]);
  expect(removeWritten(path)).toBe(false);
});
