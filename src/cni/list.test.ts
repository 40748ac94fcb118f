import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { explain } from "../lib/errors.ts";
import { loadNetworkList, loadNetworkLists, parseNetworkList } from "./list.ts";

const folder = mkdtempSync(join(tmpdir(), "weft-list-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
/** A folder with these files. */
function confDir(files: Readonly<Record<string, unknown>>): string {
  const dir = join(folder, String(count++));
  mkdirSync(dir);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(dir, name, ".."), { recursive: true });
    writeFileSync(join(dir, name), typeof content === "string" ? content : JSON.stringify(content));
  }
  return dir;
}

const bridge = { type: "bridge", capabilities: { ips: true, mac: false } };

test("configurations are found in lexicographic order, by their endings", () => {
  const dir = confDir({
    "20-b.conf": { name: "b", cniVersion: "0.4.0", type: "ptp" },
    "10-c.json": { name: "c", type: "macvlan" },
    "10-a.conflist": { name: "a", cniVersion: "1.0.0", plugins: [bridge, { type: "portmap" }] },
    "00-old.conf.bak": { name: "no", type: "no" },
    "30-bad.conflist": "{",
    README: "hello",
  });
  mkdirSync(join(dir, "05-folder.conf"));
  const { lists, failures } = loadNetworkLists(dir);
  expect(
    lists.map(({ name, cniVersion, plugins }) => [name, cniVersion, plugins.map(({ type }) => type)]),
  ).toEqual([
    ["a", "1.0.0", ["bridge", "portmap"]],
    ["c", "0.1.0", ["macvlan"]],
    ["b", "0.4.0", ["ptp"]],
  ]);
  expect(lists[0]?.plugins[0]?.capabilities).toEqual(["ips"]);
  expect(failures.map(({ file }) => file)).toEqual([join(dir, "30-bad.conflist")]);
  expect(loadNetworkLists(join(dir, "nowhere"))).toEqual({ lists: [], failures: [] });
});

test("a network is found by its name: a list before a single configuration", () => {
  const dir = confDir({
    "10-a.conf": { name: "a", type: "ptp" },
    "20-a.conflist": { name: "a", plugins: [bridge] },
    "30-a.conflist": { name: "a", plugins: [{ type: "macvlan" }] },
  });
  expect(loadNetworkList(dir, "a").plugins[0]?.type).toBe("bridge");
  expect(() => loadNetworkList(dir, "b")).toThrow(`no network "b" in ${dir}`);
  // Whose name the wanted one is, nobody can tell.
  for (const file of ["05-x.conf", "40-b.conflist"]) writeFileSync(join(dir, file), "{");
  expect(() => loadNetworkList(dir, "b")).toThrow(
    new RegExp(
      `^no network "b" in ${dir}, where 2 files could not be read: .*05-x\\.conf: .*40-b\\.conflist: `,
    ),
  );
});

test("a broken file does not hide the others, and is named when nothing else fits", () => {
  const dir = confDir({ "10-bad.conflist": '{"name":"a"', "20-b.conf": { name: "b", type: "ptp" } });
  expect(loadNetworkList(dir, "b").name).toBe("b");
  expect(() => loadNetworkList(dir, "a")).toThrow("10-bad.conflist: network configuration: not JSON");
});

test("plugins beside the list are added, unless it says otherwise", () => {
  const dir = confDir({
    "a.conflist": { name: "a", cniVersion: "1.1.0", plugins: [bridge] },
    "b.conflist": { name: "b", cniVersion: "1.1.0", plugins: [bridge], loadOnlyInlinedPlugins: true },
    "c.conflist": { name: "c", cniVersion: "1.1.0" },
    "a/20-tuning.conf": { type: "tuning" },
    "a/10-portmap.conf": { type: "portmap" },
    "a/30-no.json": { type: "no" },
    "b/10-portmap.conf": { type: "portmap" },
    "c/10-ptp.conf": { type: "ptp" },
  });
  const types = (name: string) => loadNetworkList(dir, name).plugins.map(({ type }) => type);
  expect(types("a")).toEqual(["bridge", "portmap", "tuning"]);
  expect(types("b")).toEqual(["bridge"]);
  expect(types("c")).toEqual(["ptp"]);
});

test("what is wrong with a plugin beside a list is said of that file", () => {
  const list = { name: "a", cniVersion: "1.1.0", plugins: [bridge] };
  const beside: [string, string][] = [
    ['{"tpye":"tuning"}', 'type: a plugin\'s type is missing. Write "type" in place of "tpye"'],
    ["{", "plugin configuration: not JSON"],
  ];
  for (const [text, problem] of beside) {
    const dir = confDir({ "10-a.conflist": list, "a/10-tuning.conf": text });
    const [failure] = loadNetworkLists(dir).failures;
    expect(failure?.file).toBe(join(dir, "10-a.conflist"));
    expect(explain(failure?.error)).toStartWith(`${join(dir, "a/10-tuning.conf")}: ${problem}`);
  }
});

const versions: [unknown, unknown, string][] = [
  [undefined, undefined, "0.1.0"],
  ["0.4.0", undefined, "0.4.0"],
  ["0.4.0", ["0.3.1", "1.0.0"], "1.0.0"],
  ["1.0.0", ["0.3.1", "0.4.0"], "1.0.0"],
  [undefined, ["0.4.0", "1.1.0", "99.0.0"], "1.1.0"],
  [undefined, ["0.4.0", "1.0.5"], "0.4.0"],
  ["99.0.0", ["0.4.0"], "0.4.0"],
];
test.each(versions)("cniVersion %p with cniVersions %p means %s", (cniVersion, cniVersions, expected) => {
  const text = JSON.stringify({ name: "n", cniVersion, cniVersions, plugins: [bridge] });
  expect(parseNetworkList(text).cniVersion).toBe(expected);
});

const mistakes: [string, unknown, string][] = [
  ["no plugins", { name: "n", plugins: [] }, "plugins: no plugin is configured"],
  ["plugins that are no list", { name: "n", plugins: {} }, "plugins: {} is not a list"],
  ["a plugin without type", { name: "n", plugins: [bridge, {}] }, "plugins[1].type: "],
  ["a plugin type with a folder", { name: "n", plugins: [{ type: "../x" }] }, 'plugins[0].type: "../x"'],
  [
    "misspelt plugins",
    { name: "n", plugns: [bridge] },
    'no plugin is configured. Write "plugins" in place of "plugns"',
  ],
  ["a misspelt type", { name: "n", tpye: "bridge" }, 'configured. Write "type" in place of "tpye"'],
  [
    "a misspelt name",
    { nmae: "n", plugins: [bridge] },
    'missing network name. Write "name" in place of "nmae"',
  ],
  ["no name", { plugins: [bridge] }, "missing network name"],
  ["a foreign version", { name: "n", cniVersion: "2.0.0", plugins: [bridge] }, "incompatible CNI versions"],
  [
    "a version that is none",
    { name: "n", cniVersions: ["x"], plugins: [bridge] },
    'cniVersions[0]: "x" is not a version',
  ],
  ["a flag that is none", { name: "n", disableCheck: "maybe", plugins: [bridge] }, "disableCheck: "],
  [
    "capabilities that are none",
    { name: "n", plugins: [{ type: "b", capabilities: { ips: 1 } }] },
    "capabilities.ips",
  ],
];
test.each(mistakes)("%s is one error that names file and field", (_, raw, message) => {
  const dir = confDir({ "x.conflist": raw });
  const { failures } = loadNetworkLists(dir);
  expect(failures).toHaveLength(1);
  expect(explain(failures[0]?.error)).toStartWith(`${join(dir, "x.conflist")}: `);
  expect(explain(failures[0]?.error)).toContain(message);
});

test("flags may be texts, as the specification once had them", () => {
  const list = parseNetworkList(
    JSON.stringify({ name: "n", plugins: [bridge], disableCheck: "true", disableGC: "FALSE" }),
  );
  expect(list).toMatchObject({ disableCheck: true, disableGC: false });
});

test("unknown keys of a list are warnings", () => {
  const list = parseNetworkList(JSON.stringify({ name: "n", plugins: [bridge], disableGc: true, plugin: 1 }));
  expect(list.warnings).toEqual(['plugin: unknown key (did you mean "plugins"?); it is ignored']);
});

test("a pipe in the configuration folder is not waited for and does not hide the others", () => {
  const dir = confDir({ "20-net.conf": { cniVersion: "1.0.0", name: "net", type: "bridge" } });
  Bun.spawnSync(["mkfifo", join(dir, "10-pipe.conf")]);
  const { lists, failures } = loadNetworkLists(dir);
  expect(lists.map(({ name }) => name)).toEqual(["net"]);
  expect(failures.map(({ error }) => (error as Error).message)).toEqual([`${dir}/10-pipe.conf: is no file`]);
});
