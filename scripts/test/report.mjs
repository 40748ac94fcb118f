// What bun test says: its JUnit report for counting, its output for telling.

/** @typedef {{ file: string, name: string, outcome: "passed" | "failed" | "skipped" }} Case */

/** @type {Record<string, string>} */
const entities = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/** @param {string} text */
const decode = (text) =>
  text.replace(/&(?:#(\d+)|(\w+));/g, (whole, code, name) =>
    code === undefined ? (entities[name] ?? whole) : String.fromCodePoint(Number(code)),
  );

/**
 * The tests in a report of `bun test --reporter=junit`.
 * @param {string} xml
 * @returns {Case[]}
 */
export function parseJunit(xml) {
  const cases = xml.matchAll(/<testcase ([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g);
  return [...cases].map(([, attributes = "", body = ""]) => {
    const read = (/** @type {string} */ name) =>
      decode(new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(attributes)?.[1] ?? "");
    const suite = read("classname");
    return {
      file: read("file"),
      name: suite === "" ? read("name") : `${suite} > ${read("name")}`,
      outcome: /<(failure|error)\b/.test(body) ? "failed" : /<skipped\b/.test(body) ? "skipped" : "passed",
    };
  });
}

/** What test/lib/needs.ts puts between the name of a skipped test and the reason. */
const mark = " -- skipped: ";

/**
 * How many tests were skipped for which reason.
 * @param {readonly Case[]} cases
 */
export function skipReasons(cases) {
  /** @type {Map<string, number>} */
  const reasons = new Map();
  for (const { outcome, name, file } of cases) {
    if (outcome !== "skipped") continue;
    const at = name.lastIndexOf(mark);
    const reason = at < 0 ? `no reason given: ${name} (${file})` : name.slice(at + mark.length);
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  return reasons;
}

/**
 * Follows the output of bun test: counts, knows the file that is running, and passes on what belongs to a failure.
 * @param {(text: string) => void} print
 */
export function followOutput(print) {
  const seen = { passed: 0, failed: 0, skipped: 0, file: "" };
  /** @type {string[]} */
  let since = [];
  let rest = "";
  let inError = "";
  let over = false;
  const tell = () => {
    print(since.join("\n"));
    since = [];
  };
  /** @param {string} line */
  const take = (line) => {
    // At the end bun test lists all failures once more.
    if (/^\d+ tests? failed:$/.test(line)) over = true;
    if (over) return;
    since.push(line);
    const file = /^(\S+\.test\.tsx?):$/.exec(line)?.[1];
    const outcome = /^\((pass|fail|skip|todo)\) /.exec(line)?.[1];
    if (file !== undefined) seen.file = file;
    if (outcome === "fail") {
      seen.failed++;
      tell();
    } else if (outcome !== undefined) {
      seen[outcome === "pass" ? "passed" : "skipped"]++;
      since = [];
    } else if (line.startsWith("# Unhandled error")) inError = "heading";
    else if (inError !== "" && /^-{10,}$/.test(line)) {
      // One line of dashes below the heading, one below the error.
      if (inError === "body") tell();
      inError = inError === "heading" ? "body" : "";
    }
    // What a test prints without end must not fill the memory.
    if (since.length > 2000) since = since.slice(-1000);
  };
  return {
    seen,
    /** @param {string} text */
    write(text) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) take(line);
    },
    /** Forgets the lines that belong to no finished test. */
    reset() {
      since = [];
      rest = "";
      inError = "";
      over = false;
    },
    /** The last lines that belong to no finished test. */
    last: () => [...since, rest].slice(-60).join("\n"),
  };
}
