// The test command. See `npm test -- --help`.
import { existsSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { check } from "./check.mjs";
import { root } from "./lib/files.mjs";
import { run, SetupError } from "./lib/process.mjs";
import { elapsed } from "./lib/progress.mjs";
import { bun, npmEnvironment } from "./packages.mjs";
import { main, setUp } from "./setup.mjs";
import { absent, groups, inGuest, select } from "./test/groups.mjs";
import { removeLeftovers, removeOldFolders } from "./test/leftovers.mjs";
import { followOutput, parseJunit, skipReasons } from "./test/report.mjs";

const help = `Usage: npm test [-- [GROUP | FILE | FOLDER]... [-t PATTERN] [--strict]]

Sets up what the tests need, checks the source (format, types, import rules), runs the groups of tests one after the
other, and ends with one line, "N passed, N failed". With a group, file or folder it runs only that, without checks.

Groups:
  check        what npm run check does
${groups.map(({ name, about }) => `  ${name.padEnd(12)} ${about}`).join("\n")}

  -t PATTERN   only the tests whose names match
  --strict     a test that is skipped because something is missing counts as failed
  --list       print the test files of each group`;

/**
 * @typedef {object} Result
 * @property {{ passed: number, failed: number, skipped: number }} count
 * @property {Map<string, number>} reasons how many tests were skipped for which reason
 */

/** @returns {Result} */
const emptyResult = () => ({ count: { passed: 0, failed: 0, skipped: 0 }, reasons: new Map() });

/**
 * @param {Result} total
 * @param {Result} more
 */
function add(total, { count, reasons }) {
  total.count.passed += count.passed;
  total.count.failed += count.failed;
  total.count.skipped += count.skipped;
  for (const [reason, times] of reasons) total.reasons.set(reason, (total.reasons.get(reason) ?? 0) + times);
}

/**
 * @param {readonly string[]} argv
 */
function readArguments(argv) {
  const options = {
    wanted: /** @type {string[]} */ ([]),
    pattern: "",
    strict: false,
    list: false,
    help: false,
  };
  const rest = [...argv];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === "-t") options.pattern = rest.shift() ?? "";
    else if (arg === "--strict") options.strict = true;
    else if (arg === "--list") options.list = true;
    else if (arg === "--help" || arg === "-h") options.help = true;
    else if (arg.startsWith("-")) throw new SetupError(`unknown option "${arg}"; see npm test -- --help`);
    else options.wanted.push(arg.replace(/^\.\//, "").replace(/\/$/, ""));
  }
  return options;
}

/** The environment of the tests: the caller's, without colours and without what npm tells its scripts. */
const environment = () => ({ ...npmEnvironment(), NO_COLOR: "1", FORCE_COLOR: undefined });

/**
 * Shows how far a group is: every second on a terminal, every half minute elsewhere.
 * @param {string} name
 * @param {{ passed: number, failed: number, file: string }} seen
 */
function showProgress(name, seen) {
  const since = Date.now();
  const terminal = process.stdout.isTTY === true;
  const line = () =>
    `     ${name}: ${seen.passed} passed, ${seen.failed} failed, at ${seen.file} ${elapsed(since)}`;
  const timer = setInterval(
    () => process.stdout.write(terminal ? `\r\x1b[K${line()}` : `${line()}\n`),
    terminal ? 1000 : 30_000,
  );
  return () => {
    clearInterval(timer);
    if (terminal) process.stdout.write("\r\x1b[K");
  };
}

/** How long a file that runs alone may take. */
const fileSeconds = 600;

/** For a test that does not say otherwise, and does more than compute: machines have other things to do, too. */
const testMilliseconds = 30_000;

/** @param {number} files */
const fileCount = (files) => (files === 1 ? "1 file" : `${files} files`);

/**
 * Runs one group and tells what came of it. Files that touch more than their own memory run in a process each, so
 * that one that crashes or hangs costs its own tests and no others.
 * @param {import("./test/groups.mjs").Group} group
 * @param {readonly string[]} files
 * @param {string} pattern
 * @returns {Promise<Result>}
 */
async function runGroup(group, files, pattern) {
  const since = Date.now();
  const missing = absent(group);
  if (missing !== undefined) {
    console.log(`skip ${group.name}: ${fileCount(files.length)}, ${missing}`);
    return {
      count: { passed: 0, failed: 0, skipped: files.length },
      reasons: new Map([[missing, files.length]]),
    };
  }
  const total = emptyResult();
  const output = followOutput((text) => console.log(text.replace(/^/gm, "     ")));
  const hide = showProgress(group.name, output.seen);
  for (const batch of group.together === true || group.guest !== undefined
    ? [files]
    : files.map((file) => [file])) {
    const left = group.seconds - (Date.now() - since) / 1000;
    const seconds = batch === files ? left : Math.min(left, fileSeconds);
    if (left > 0) add(total, await runFiles(group, batch, { seconds, pattern, output }));
    else {
      console.log(`     ${group.name}: its ${group.seconds} s are over, not run: ${batch.join(" ")}`);
      total.count.failed += batch.length;
    }
  }
  hide();
  const { passed, failed, skipped } = total.count;
  const word = failed > 0 ? "FAIL" : "ok  ";
  const details = `${passed} passed${failed > 0 ? `, ${failed} failed` : ""}${skipped > 0 ? `, ${skipped} skipped` : ""}`;
  console.log(`${word} ${group.name}  ${fileCount(files.length)}, ${details}  ${elapsed(since)}`);
  return total;
}

/**
 * Runs test files in one process.
 * @param {import("./test/groups.mjs").Group} group
 * @param {readonly string[]} files
 * @param {{ seconds: number, pattern: string, output: ReturnType<typeof followOutput> }} how
 * @returns {Promise<Result>}
 */
async function runFiles(group, files, { seconds, pattern, output }) {
  const report = join(tmpdir(), `weft-test-${process.pid}-${group.name}.xml`);
  const before = { ...output.seen };
  const command = [
    ...[bun, "test", "--reporter=junit", `--reporter-outfile=${report}`, ...(group.flags ?? [])],
    ...(group.together === true ? [] : [`--timeout=${testMilliseconds}`]),
    ...(pattern === "" ? [] : ["--test-name-pattern", pattern]),
    ...files.map((file) => `./${file}`),
  ];
  const [program = "", ...args] = inGuest(group, command);
  const { status, late } = await run(program, args, {
    cwd: root,
    env: environment(),
    // A guest ends by itself; this is for when it does not.
    seconds: seconds + (group.guest === undefined ? 0 : 30),
    output: (text) => output.write(text),
  });
  const cases = existsSync(report) ? parseJunit(readFileSync(report, "utf8")) : undefined;
  rmSync(report, { force: true });
  const outOfTime = late || (status === 124 && group.guest !== undefined);
  const faults = [...faultsOf(files, { cases, status, outOfTime, pattern }, output)];
  for (const fault of faults) console.log(`     ${group.name}: ${fault}`);
  output.reset();
  const outcomes = (/** @type {string} */ wanted) =>
    cases?.filter(({ outcome }) => outcome === wanted).length;
  return {
    count: {
      passed: outcomes("passed") ?? output.seen.passed - before.passed,
      failed: (outcomes("failed") ?? output.seen.failed - before.failed) + faults.length,
      skipped: outcomes("skipped") ?? output.seen.skipped - before.skipped,
    },
    reasons: skipReasons(cases ?? []),
  };
}

/**
 * What went wrong as a whole, each of which counts as one failure: a run out of time or without a report, one that
 * ended badly without a failed test, a file in which no test ran, namespaces left behind.
 * @param {readonly string[]} files
 * @param {object} outcome
 * @param {import("./test/report.mjs").Case[] | undefined} outcome.cases
 * @param {number} outcome.status
 * @param {boolean} outcome.outOfTime
 * @param {string} outcome.pattern
 * @param {ReturnType<typeof followOutput>} output
 */
function* faultsOf(files, { cases, status, outOfTime, pattern }, output) {
  if (outOfTime) yield `out of time, ended in ${output.seen.file}\n${output.last()}`;
  else if (cases === undefined && status === 0) yield `no test ran in ${files.join(" ")}`;
  else if (cases === undefined) {
    yield `bun test ended with status ${status} in ${output.seen.file} and left no report\n${output.last()}`;
  } else {
    const ran = new Set(cases.map(({ file }) => file));
    const empty = pattern === "" ? files.filter((file) => !ran.has(file)) : [];
    for (const file of empty) yield `no test ran in ${file}`;
    const explained = empty.length > 0 || cases.some(({ outcome }) => outcome === "failed") || pattern !== "";
    if (status !== 0 && !explained) yield `bun test ended with status ${status}\n${output.last()}`;
  }
  const left = removeLeftovers();
  if (left.length > 0) yield `namespaces left behind, now removed: ${left.join(", ")}`;
}

/**
 * Builds Weft and fetches its peers, where a group needs them. When that fails the other groups still run.
 * @param {boolean} wanted
 */
async function equip(wanted) {
  try {
    if (wanted) await setUp("tests");
    return true;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.log(
      `FAIL set-up, so only the groups that need none of it run\n${error.message.replace(/^/gm, "     ")}`,
    );
    return false;
  }
}

/** @returns {Promise<number>} the exit status */
async function test() {
  const { wanted, pattern, strict } = options;
  const { chosen, homeless } = select(wanted);
  const total = emptyResult();
  const { count } = total;
  const none = (/** @type {string} */ name) =>
    [...select([name]).chosen.values()].every((files) => files.length === 0);
  const unknown = wanted.filter((name) => name !== "check" && none(name));
  for (const name of unknown) {
    console.log(`FAIL there is no test in "${name}"; see npm test -- --help`);
    count.failed++;
  }
  for (const file of homeless) {
    console.log(`FAIL ${file} is in no group; see scripts/test/groups.mjs`);
    count.failed++;
  }
  removeLeftovers();
  removeOldFolders();
  if (wanted.length === 0 || wanted.includes("check")) {
    const { passed, failed } = await check();
    add(total, { count: { passed, failed, skipped: 0 }, reasons: new Map() });
  }
  const equipped = await equip(
    groups.some(({ name, bare }) => bare !== true && (chosen.get(name)?.length ?? 0) > 0),
  );
  if (!equipped) count.failed++;
  for (const group of groups) {
    const files = chosen.get(group.name) ?? [];
    if (files.length > 0 && (equipped || group.bare === true))
      add(total, await runGroup(group, files, pattern));
  }
  if (total.reasons.size > 0) console.log("\nSkipped:");
  for (const [reason, times] of total.reasons) console.log(`  ${times} ${reason}`);
  if (strict) {
    count.failed += count.skipped;
    count.skipped = 0;
  }
  const skipped = count.skipped === 0 ? "" : `, ${count.skipped} skipped`;
  console.log(`\n${count.passed} passed, ${count.failed} failed${skipped}`);
  return count.failed === 0 && count.passed > 0 ? 0 : 1;
}

/** @type {ReturnType<typeof readArguments>} */
let options;
try {
  options = readArguments(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof SetupError ? error.message : error);
  process.exit(2);
}
if (options.help) console.log(help);
else if (options.list) {
  for (const [name, files] of select(options.wanted).chosen)
    for (const file of files) console.log(`${name}  ${file}`);
} else {
  const status = await main("packages", test);
  if (status === undefined) console.log("\n0 passed, 1 failed");
}
