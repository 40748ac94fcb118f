/**
 * Finds what a TypeScript or JavaScript file imports, type-only imports included, without a compiler:
 * Bun.Transpiler.scanImports leaves type-only imports out, dependency-cruiser sees nothing at all when only
 * TypeScript 7 is installed (and exits 0), and Biome's noImportCycles misses cycles of types.
 *
 * The scanner knows comments, strings, templates and (by the token before) regular expressions; the graph compares
 * its finds with Bun.Transpiler's, so a file that it misreads is reported, not passed over.
 */

export type ImportKind = "import" | "export" | "import()" | "require" | "url";

export interface Import {
  kind: ImportKind;
  /** Undefined where it is computed, so that nobody can say what it is. */
  specifier: string | undefined;
  line: number;
}

interface Token {
  kind: "word" | "string" | "mark";
  text: string;
  line: number;
}

/** After one of these words a slash begins a regular expression; after any other word it divides. */
const beforeRegExp = new Set([
  "return",
  "typeof",
  "case",
  "in",
  "of",
  "do",
  "else",
  "void",
  "delete",
  "throw",
  "new",
  "await",
  "yield",
  "instanceof",
]);

/** The next token of code, or what lies between two tokens. */
const next = new RegExp(
  [
    /(?<between>\s+|\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$))/,
    /(?<string>'(?:\\[\s\S]|[^'\\\n])*'?|"(?:\\[\s\S]|[^"\\\n])*"?)/,
    /(?<regExp>\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/[\\\n])+\/[a-z]*)/,
    /(?<word>[\p{ID_Continue}$\u200c\u200d]+)/u,
    /(?<mark>[\s\S])/,
  ]
    .map(({ source }) => source)
    .join("|"),
  "uy",
);

/** The text of a template up to its end or to the code inside it. */
const templateText = /(?:\\[\s\S]|\$(?!\{)|[^`\\$])*/y;

/** Whether a slash that follows this token begins a regular expression. */
function startsRegExp(previous: Token | undefined): boolean {
  if (previous === undefined) return true;
  if (previous.kind === "string") return false;
  if (previous.kind === "word") return beforeRegExp.has(previous.text);
  return previous.text !== ")" && previous.text !== "]" && previous.text !== "}";
}

class Tokens {
  readonly list: Token[] = [];
  readonly #text: string;
  #at = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
    while (this.#at < text.length) {
      this.#code();
      // A closing brace too many is the text's fault, or ours; the graph's comparison tells.
      this.#pass(1);
    }
  }

  #pass(length: number): string {
    const passed = this.#text.slice(this.#at, this.#at + length);
    this.#at += passed.length;
    for (const char of passed) if (char === "\n") this.#line++;
    return passed;
  }

  #take(kind: Token["kind"], length: number): void {
    const line = this.#line;
    this.list.push({ kind, text: this.#pass(length), line });
  }

  /** Code up to the end of the text or, inside a template, up to its closing brace. */
  #code(): void {
    let depth = 0;
    for (;;) {
      next.lastIndex = this.#at;
      const groups = next.exec(this.#text)?.groups;
      if (groups === undefined) return;
      const { between, string, regExp, word, mark } = groups;
      if (between !== undefined) this.#pass(between.length);
      else if (string !== undefined) this.#take("string", string.length);
      else if (word !== undefined) this.#take("word", word.length);
      else if (regExp !== undefined && startsRegExp(this.list.at(-1))) this.#take("string", regExp.length);
      else if (mark === "`") this.#template();
      else {
        if (mark === "{") depth++;
        if (mark === "}" && depth-- === 0) return;
        this.#take("mark", mark?.length ?? 1);
      }
    }
  }

  #template(): void {
    const start = this.#at;
    const line = this.#line;
    let plain = true;
    this.#pass(1);
    for (;;) {
      templateText.lastIndex = this.#at;
      this.#pass(templateText.exec(this.#text)?.[0].length ?? 0);
      if (!this.#text.startsWith("${", this.#at)) break;
      plain = false;
      this.#pass(2);
      this.#code();
      this.#pass(1);
    }
    this.#pass(1);
    // A template with something in it is no literal: as a mark it is never taken for a specifier.
    this.list.push({
      kind: plain ? "string" : "mark",
      text: plain ? this.#text.slice(start, this.#at) : ")",
      line,
    });
  }
}

/** The value of a string token. Specifiers hold no escapes that matter; one that does is not resolved, and shows. */
const unquote = (token: Token | undefined) =>
  token?.kind === "string" && /^["'`]/.test(token.text) ? token.text.slice(1, -1) : undefined;

/** All that a file imports, in the order of the text. */
export function scanImports(text: string): Import[] {
  const tokens = new Tokens(text).list;
  const found: Import[] = [];
  const at = (index: number) => tokens[index]?.text;
  for (const [index, { kind, text, line }] of tokens.entries()) {
    if (kind !== "word" || at(index - 1) === ".") continue;
    const add = (as: ImportKind, specifier: string | undefined) => found.push({ kind: as, specifier, line });
    if ((text === "import" || text === "require") && at(index + 1) === "(") {
      const specifier =
        at(index + 3) === ")" || at(index + 3) === "," ? unquote(tokens[index + 2]) : undefined;
      // A module has no require of its own, so that with anything but a name it is somebody's function.
      if (text === "import") add("import()", specifier);
      else if (specifier !== undefined) add("require", specifier);
    } else if (text === "import" && at(index + 1) !== ".") {
      const bare = unquote(tokens[index + 1]);
      const specifier = bare ?? fromClause(tokens, index);
      if (specifier !== undefined) add("import", specifier);
    } else if (text === "export") {
      const specifier = fromClause(tokens, index);
      if (specifier !== undefined) add("export", specifier);
    } else if (
      text === "URL" &&
      at(index + 1) === "(" &&
      at(index + 3) === "," &&
      at(index + 4) === "import"
    ) {
      const specifier = unquote(tokens[index + 2]);
      if (specifier !== undefined) add("url", specifier);
    }
  }
  return found;
}

/**
 * The specifier of `import ... from "x"` or `export ... from "x"`. Between the keyword and `from` stand only names,
 * braces, commas and stars; anything else means that this is another kind of statement.
 */
function fromClause(tokens: readonly Token[], keyword: number): string | undefined {
  let braces = 0;
  for (let index = keyword + 1; index < tokens.length; index++) {
    const token = tokens[index] as Token;
    if (token.text === "{") braces++;
    else if (token.text === "}") braces--;
    else if (token.text === "from" && braces === 0 && tokens[index + 1]?.kind === "string")
      return unquote(tokens[index + 1]);
    else if (token.kind === "word" && braces === 0 && statements.has(token.text)) return undefined;
    else if (token.kind === "mark" && token.text !== "," && token.text !== "*") return undefined;
    // `import { "a name" as x }` is the one place for a string before the specifier.
    else if (token.kind === "string" && braces === 0) return undefined;
  }
  return undefined;
}

/** What follows `export` when no other module is meant. */
const statements = new Set([
  "const",
  "let",
  "var",
  "function",
  "class",
  "interface",
  "enum",
  "async",
  "abstract",
  "declare",
  "namespace",
]);
