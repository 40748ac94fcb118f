import { describe, expect, test } from "bun:test";
import { scanImports } from "./scan.ts";

const found = (text: string) => scanImports(text).map(({ kind, specifier, line }) => [kind, specifier, line]);

describe("scanImports finds", () => {
  test.each([
    ['import "./a.ts";', "import", "./a.ts"],
    ["import a from './a.ts'", "import", "./a.ts"],
    ['import * as a from "./a.ts";', "import", "./a.ts"],
    ['import a, { b as c, type D } from "./a.ts";', "import", "./a.ts"],
    ['import type { A } from "./a.ts";', "import", "./a.ts"],
    ['import type from "./a.ts";', "import", "./a.ts"],
    ['import { from } from "./a.ts";', "import", "./a.ts"],
    ['import { "odd name" as odd } from "./a.ts";', "import", "./a.ts"],
    ['import data from "./a.json" with { type: "json" };', "import", "./a.json"],
    ['import{a}from"./a.ts"', "import", "./a.ts"],
    ['export * from "./a.ts";', "export", "./a.ts"],
    ['export * as a from "./a.ts";', "export", "./a.ts"],
    ['export { a, default as b } from "./a.ts";', "export", "./a.ts"],
    ['export type { A } from "./a.ts";', "export", "./a.ts"],
    ['const a = await import("./a.ts");', "import()", "./a.ts"],
    ['const a = import("./a.json", { with: { type: "json" } });', "import()", "./a.json"],
    ["const a = import(`./a.ts`);", "import()", "./a.ts"],
    ['let a: import("./a.ts").A;', "import()", "./a.ts"],
    ['let a: typeof import("./a.ts");', "import()", "./a.ts"],
    ['const a = require("./a.cjs");', "require", "./a.cjs"],
    ['new Worker(new URL("./a.ts", import.meta.url));', "url", "./a.ts"],
    ["const a = import(name);", "import()", undefined],
    [`const a = import(\`./\${name}.ts\`);`, "import()", undefined],
    ['const a = import("./" + name);', "import()", undefined],
  ])("%s", (text, kind, specifier) => {
    expect(found(text)).toEqual([[kind, specifier, 1]]);
  });

  test("each in its line, over several lines", () => {
    const text = `/* a\ncomment */ import {\n  a,\n  b,\n} from "./a.ts";\nconst t = \`\n\n\${await import("./b.ts")}\`;\nexport * from "./c.ts";`;
    expect(found(text)).toEqual([
      ["import", "./a.ts", 2],
      ["import()", "./b.ts", 8],
      ["export", "./c.ts", 9],
    ]);
  });

  test("what follows a regular expression, a division, a template and an apostrophe", () => {
    const text = [
      "const a = /['\"`/]/.test(x) ? 1 / 2 : x.y / 3; // don't",
      "const b = (1) / 2; const c = [/`/, /[/`]/];",
      `const d = \`a \${\`b \${{ c: '}' }.c} \\\` \`} \${1 / 2}\`;`,
      'return /"/;',
      'import "./a.ts";',
    ];
    expect(found(text.join("\n"))).toEqual([["import", "./a.ts", 5]]);
  });
});

describe("scanImports passes over", () => {
  test.each([
    '// import "./a.ts"',
    '/* import "./a.ts" */',
    "const a = 'import \"./a.ts\"';",
    'const a = `import "./a.ts"`;',
    'const a = /import "x"/;',
    "import.meta.url;",
    'export const from = "./a.ts";',
    'export default "./a.ts";',
    'export { a }; const from = "./a.ts";',
    'export function from() { return "./a.ts"; }',
    'loader.import("./a.ts");',
    "const a = require(name, options);",
    'new URL("http://127.0.0.1", base);',
  ])("%s", (text) => {
    expect(found(text)).toEqual([]);
  });
});
