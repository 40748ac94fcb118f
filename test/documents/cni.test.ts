/** Each plugin has a page in docs/cni, which is whole, and a picture that was drawn of scripts/pictures. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { draw, faults } from "../../scripts/pictures/draw.mjs";
import { pictures } from "../../scripts/pictures/plugins.mjs";
import { dhcpKeys } from "../../src/plugins/ipam/dhcp.ts";
import { hostLocalKeys } from "../../src/plugins/ipam/host-local.ts";
import { staticKeys } from "../../src/plugins/ipam/static.ts";
import { loadPlugin } from "../../src/plugins/load.ts";
import { type PluginName, pluginNames } from "../../src/plugins/names.ts";
import { readPage, root } from "../lib/blocks.ts";

const folder = "docs/cni";
/** What an SVG file may be at most. Bytes. */
const largest = 6 * 1024;

/** Those of `ipam`, which is the business of the plugin that it names. */
const ipamKeys: Partial<Record<PluginName, readonly string[]>> = {
  dhcp: dhcpKeys,
  "host-local": hostLocalKeys,
  static: staticKeys,
};

const headings = [
  "Keys",
  "Example",
  "What it makes",
  "CHECK, GC and STATUS",
  "Differences from the reference",
];

/** A page's sections by their headings. */
function sectionsOf(text: string): Map<string, string> {
  const parts = text.split(/^## /m).slice(1);
  return new Map(
    parts.map((part) => [part.slice(0, part.indexOf("\n")), part.slice(part.indexOf("\n") + 1)]),
  );
}

describe.each([...pluginNames])("the page of %s", (name) => {
  const text = readPage(`${folder}/${name}.md`);
  const sections = sectionsOf(text);
  const picture = pictures.find((each) => each.name === name);

  test("has its sections, in their order, and says something in each", () => {
    expect(text).toStartWith(`# ${name}\n`);
    expect([...sections.keys()].filter((heading) => headings.includes(heading))).toEqual(headings);
    for (const heading of headings) expect(sections.get(heading)?.trim(), heading).not.toBe("");
  });

  test("names every key", async () => {
    const { keys = [] } = await loadPlugin(name);
    const named = [...keys, ...(ipamKeys[name] ?? [])].filter((key) => key !== "type");
    expect(named.length > 0 || ["dummy", "loopback"].includes(name)).toBe(true);
    const section = sections.get("Keys") ?? "";
    expect(named.filter((key) => !section.includes(`\`${key}\``))).toEqual([]);
  });

  test("shows its picture, with what is to be seen in words", () => {
    if (picture === undefined) throw new Error("scripts/pictures/plugins.mjs has none");
    expect(text).toContain(`\n![${picture.alt}](pictures/${name}.svg)\n`);
    expect(picture.alt.length).toBeGreaterThan(30);
  });

  test("has a picture as `node scripts/pictures.mjs` draws it, in which nothing is hidden", () => {
    if (picture === undefined) throw new Error("scripts/pictures/plugins.mjs has none");
    const svg = readFileSync(join(root, folder, "pictures", `${name}.svg`), "utf8");
    expect(svg).toBe(draw(picture));
    expect(svg.length).toBeLessThan(largest);
    expect(faults(picture)).toEqual([]);
  });
});

test("there is no picture of anything else", () => {
  const files = readdirSync(join(root, folder, "pictures")).sort();
  expect(files).toEqual(pluginNames.map((name) => `${name}.svg`));
});

test("the index has a line for each page", () => {
  const pages = readdirSync(join(root, folder)).filter((name) => name.endsWith(".md"));
  expect(pages.length).toBeGreaterThan(pluginNames.length);
  const index = readPage("docs/cni.md");
  expect(pages.filter((page) => !index.includes(`](cni/${page})`))).toEqual([]);
  const linesOf = (name: string) => index.split("\n").filter((line) => line.startsWith(`| [${name}](`));
  expect(pluginNames.filter((name) => linesOf(name).length !== 1)).toEqual([]);
});

test("a picture in which something hides something is found out", () => {
  const node = (id: string) => ({ id, name: "a long name", lines: ["and a line"] });
  const picture = (level: string) => ({
    name: "bad",
    alt: "",
    columns: [[{ title: "host", columns: [[node("a"), { ...node("b"), level }]] }]],
  });
  expect(faults(picture(""))).toEqual([]);
  expect(faults(picture("a"))).toEqual(["a is over b"]);
  const three = { title: "host", columns: [[node("a")], [node("b")], [node("c")]] };
  const wires = [{ from: "a", to: "c" }];
  expect(faults({ name: "bad", alt: "", columns: [[three]], wires })).toEqual([
    "the wire from a to c goes over b",
  ]);
});
