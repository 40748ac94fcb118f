/** docs/linux.md names only what is there. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { FakeMachine } from "../../src/linux/fake/index.ts";
import * as linux from "../../src/linux/index.ts";

const root = join(import.meta.dir, "../..");
const page = readFileSync(join(root, "docs/linux.md"), "utf8");

test("every file that the page names exists", () => {
  const files = [...page.matchAll(/\]\(\.\.\/([^)]+)\)|`((?:src|test)\/[^`]+)`/g)].map(
    ([, link, code]) => link ?? code,
  );
  expect(files.length).toBeGreaterThan(4);
  expect(files.filter((file) => file === undefined || !existsSync(join(root, file)))).toEqual([]);
});

test("every part of rtnl that the page names exists", () => {
  const { rtnl } = new FakeMachine().kernel();
  const parts = [...page.matchAll(/`rtnl\.(\w+)/g)].map(([, part]) => part as string);
  expect(new Set(parts).size).toBeGreaterThan(8);
  expect(parts.filter((part) => !(part in rtnl))).toEqual([]);
});

test("every function that the page names is exported", () => {
  const names = [...page.matchAll(/`([a-z]\w+)(?:\(|`)/g)].map(([, name]) => name as string);
  const own = names.filter((name) => /^(open|create|delete|list|in|is)[A-Z]|^(nftables|expr)$/.test(name));
  expect(own.length).toBeGreaterThan(8);
  expect(own.filter((name) => !(name in linux))).toEqual([]);
});
