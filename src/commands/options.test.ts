import { describe, expect, test } from "bun:test";
import { explain } from "../lib/errors.ts";
import { integerOption, optionsHelp, parseOptions, prefixesOption } from "./options.ts";
import { UsageError } from "./usage.ts";

const specs = {
  node: { type: "string", value: "NAME", help: "the node" },
  cidr: { type: "string", value: "PREFIX", help: "a prefix", multiple: true },
  json: { type: "boolean", help: "for programs", short: "j" },
} as const;
const parse = (...args: string[]) => parseOptions("test", args, specs, { max: 1, names: "POD" });

/** The one line that the user sees. */
function said(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return explain(error);
  }
  return "nothing";
}

describe("parseOptions", () => {
  test("reads values in both forms, repetitions, short names and what follows --", () => {
    expect(parse("--node", "a", "--cidr=x", "--cidr", "y", "-j", "pod", "--", "ls", "-l")).toEqual({
      options: { node: "a", cidr: ["x", "y"], json: true },
      positionals: ["pod"],
      rest: ["ls", "-l"],
    });
  });

  const bad: [string[], string][] = [
    [["--nod", "a"], 'there is no option "--nod" (did you mean "--node"?)'],
    [["-node", "a"], 'there is no option "-node" (did you mean "--node"?)'],
    [["--nod=a"], 'there is no option "--nod" (did you mean "--node"?)'],
    [["--quite-another"], 'there is no option "--quite-another". See weft test --help'],
    [["-x"], 'there is no option "-x". See weft test --help'],
    [["--node"], "--node wants a value: --node NAME"],
    [["--node", "--json"], "--node wants a value"],
    [["--json=yes"], "--json takes no value"],
    [["a", "b"], 'too many arguments: "b"'],
  ];
  for (const [args, message] of bad) {
    test(`refuses ${args.join(" ")}`, () => {
      expect(() => parse(...args)).toThrow(UsageError);
      expect(said(() => parse(...args))).toContain(message);
    });
  }

  test("names what is missing", () => {
    expect(() => parseOptions("exec", [], {}, { min: 1, max: 1, names: "POD" })).toThrow("missing POD");
  });
});

test("integerOption names the option, the value and the range", () => {
  expect(integerOption("nodes", "3", 1, 20)).toBe(3);
  for (const text of ["0", "21", "-1", "1.5", "x", "", "1e1"]) {
    expect(() => integerOption("nodes", text, 1, 20)).toThrow("is not a whole number from 1 to 20");
  }
});

test("prefixesOption refuses host bits and writes the network", () => {
  expect(prefixesOption("cluster-cidr", ["10.0.0.0/8,fd00::/8"]).map(String)).toEqual([
    "10.0.0.0/8",
    "fd00::/8",
  ]);
  expect(said(() => prefixesOption("cluster-cidr", ["10.0.0.1/8"]))).toBe(
    '--cluster-cidr: "10.0.0.1/8" has bits set behind its length. Write 10.0.0.0/8',
  );
});

test("optionsHelp aligns the options", () => {
  expect(optionsHelp(specs)).toBe(
    "  --node NAME    the node\n  --cidr PREFIX  a prefix; may be repeated\n  -j, --json     for programs",
  );
});
