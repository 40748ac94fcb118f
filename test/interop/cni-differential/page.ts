/** docs/cni/differences.md and the rules say the same. */
import { join } from "node:path";
import type { Rule } from "./differences.ts";

export const pagePath = join(import.meta.dir, "../../../docs/cni/differences.md");

/** The lines of the page's table that tell of a rule. */
export const lineOf = ({ name, reason }: Rule) => `| \`${name}\` | ${reason.replaceAll("|", "\\|")} |`;

/** The rules' lines that a page has. */
export const linesOf = (page: string) => page.split("\n").filter((line) => /^\| `/.test(line));
