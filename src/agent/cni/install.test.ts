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
import { installPlugins, uninstallPlugins, writeAtomically } from "./install.ts";

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
    test(`${mode}: makes the executable and a link for each plugin, and nothing the second time`, () => {
      expect(installPlugins(source, bin, plugins, mode)).toBe(3);
      expect(listed()).toEqual(["bridge", "portmap", "weft-cni"]);
      expect(readlinkSync(join(bin, "bridge"))).toBe("weft-cni");
      expect(readFileSync(join(bin, "portmap"), "utf8")).toBe("executable");
      expect(lstatSync(join(bin, "weft-cni")).isSymbolicLink()).toBe(mode === "link");
      expect(lstatSync(join(bin, "bridge")).mode & 0o111).not.toBe(0);
      expect(installPlugins(source, bin, plugins, mode)).toBe(0);
    });
  }

  test("copies a newer executable over an older one", () => {
    installPlugins(source, bin, plugins, "copy");
    writeFileSync(source, "EXECUTABLE");
    expect(installPlugins(source, bin, plugins, "copy")).toBe(1);
    expect(readFileSync(join(bin, "bridge"), "utf8")).toBe("EXECUTABLE");
  });

  test("sets another's plugin aside, and cleanup puts it back", () => {
    mkdirSync(bin);
    writeFileSync(join(bin, "bridge"), "another's");
    writeFileSync(join(bin, "macvlan"), "untouched");
    installPlugins(source, bin, plugins, "link");
    expect(readFileSync(join(bin, "bridge"), "utf8")).toBe("executable");
    uninstallPlugins(bin, plugins);
    expect(listed()).toEqual(["bridge", "macvlan"]);
    expect(readFileSync(join(bin, "bridge"), "utf8")).toBe("another's");
    uninstallPlugins(bin, plugins);
    expect(listed()).toEqual(["bridge", "macvlan"]);
  });

  test("says what to do where there is no executable", () => {
    expect(() => installPlugins(join(dir, "none"), bin, plugins, "copy")).toThrow(/is not there/);
  });
});

test("writeAtomically makes the folder and leaves no temporary file", () => {
  const path = join(dir, "net.d", "10-weft.conflist");
  writeAtomically(path, "one");
  writeAtomically(path, "two");
  expect(readFileSync(path, "utf8")).toBe("two");
  expect(readdirSync(join(dir, "net.d"))).toEqual(["10-weft.conflist"]);
});
