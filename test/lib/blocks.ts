/** The fenced blocks of the documentation, so that a test can run what a page tells a reader to run. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const root = join(import.meta.dir, "../..");

export interface Block {
  /** The page, from the project's top. */
  page: string;
  /** Where the block's text begins. */
  line: number;
  /** The first word after the fence: json, yaml, sh, ts. */
  language: string;
  /** The words after it, which say how a test runs the block: `json cni` is a CNI configuration list. */
  marks: string[];
  text: string;
}

/** All Markdown pages of the project. */
export function pages(): string[] {
  const found = readdirSync(root).filter((name) => name.endsWith(".md"));
  for (const folder of ["docs", "examples", "deploy", "test", "bench"]) {
    if (!existsSync(join(root, folder))) continue;
    const inside = readdirSync(join(root, folder), { recursive: true, encoding: "utf8" });
    found.push(...inside.filter((name) => name.endsWith(".md")).map((name) => `${folder}/${name}`));
  }
  return found.sort();
}

export const readPage = (page: string): string => readFileSync(join(root, page), "utf8");

/** The blocks of a page's text. A fence that is never closed is an error of the page. */
export function parseBlocks(page: string, text: string): Block[] {
  const blocks: Block[] = [];
  let open: (Block & { fence: string; indent: number }) | undefined;
  const lines: string[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const [, indent = "", fence, info = ""] = /^( *)(```+|~~~+)(.*)$/.exec(line) ?? [];
    if (open === undefined && fence !== undefined) {
      const [language = "", ...marks] = info.trim().split(/\s+/);
      open = { page, line: index + 2, language, marks, text: "", fence, indent: indent.length };
      lines.length = 0;
    } else if (open !== undefined && fence?.startsWith(open.fence) && info.trim() === "") {
      const { fence: _, indent: __, ...block } = open;
      blocks.push({ ...block, text: lines.map((one) => `${one}\n`).join("") });
      open = undefined;
    } else if (open !== undefined) lines.push(line.replace(new RegExp(`^ {0,${open.indent}}`), ""));
  }
  if (open !== undefined) throw new Error(`${page}:${open.line - 1}: this block is never closed`);
  return blocks;
}

/** The blocks of all pages in a language, and with a mark where one is given. */
export function blocks(language: string, mark?: string): Block[] {
  const all = pages().flatMap((page) => parseBlocks(page, readPage(page)));
  return all.filter(
    (block) => block.language === language && (mark === undefined || block.marks.includes(mark)),
  );
}
