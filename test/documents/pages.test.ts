/** What the pages say about files and commands is so, and their examples can at least be read. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { blocks, pages, parseBlocks, readPage, root } from "../lib/blocks.ts";

const lineOf = (text: string, index: number) => text.slice(0, index).split("\n").length;

/** The page without its fenced blocks, line for line. */
function prose(page: string): string {
  let fenced = false;
  const lines = readPage(page)
    .split("\n")
    .map((line) => {
      if (/^ *(```|~~~)/.test(line)) fenced = !fenced;
      return fenced ? "" : line;
    });
  return lines.join("\n");
}

describe.each(pages())("%s", (page) => {
  test("links only to what is there", () => {
    const text = prose(page);
    const broken = [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
      .filter(([, target = ""]) => !/^[a-z]+:/.test(target))
      .filter(([, target = ""]) => !existsSync(join(root, normalize(join(dirname(page), target)))))
      .map(({ 1: target, index }) => `${page}:${lineOf(text, index)}: ${target}`);
    expect(broken).toEqual([]);
  });

  test("names only npm scripts that there are", () => {
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const named = [...readPage(page).matchAll(/\bnpm run (?:-s |--silent )?([a-z][\w:-]*)/g)].map(
      ([, name]) => name,
    );
    expect(named.filter((name) => name !== undefined && scripts[name] === undefined)).toEqual([]);
  });

  test("has JSON and YAML that can be read", () => {
    for (const { language, line, text } of parseBlocks(page, readPage(page))) {
      const parse = { json: JSON.parse, yaml: Bun.YAML.parse }[language];
      if (parse !== undefined) expect(() => parse(text), `${page}:${line}`).not.toThrow();
    }
  });
});

test("blocks are found with their language, marks, line and text", () => {
  const text = 'a\n```json cni\n{\n  "a": 1\n}\n```\n\n- b\n  ~~~yaml\n  c: 1\n  ~~~\n';
  expect(parseBlocks("page", text)).toEqual([
    { page: "page", line: 3, language: "json", marks: ["cni"], text: '{\n  "a": 1\n}\n' },
    { page: "page", line: 10, language: "yaml", marks: [], text: "c: 1\n" },
  ]);
  expect(() => parseBlocks("page", "```\n")).toThrow("page:1: this block is never closed");
  expect(blocks("ts").some(({ page }) => page === "docs/development.md")).toBe(true);
});
