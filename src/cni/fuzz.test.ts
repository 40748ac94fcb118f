/** Parsers of what comes from outside, fed with mutations of good input: they accept it or throw their own errors. */
import { expect, test } from "bun:test";
import { InvalidInput } from "../lib/errors.ts";
import { mutate, scramble } from "../lib/mutate.ts";
import { seededRandom } from "../lib/random.ts";
import { parseCniArgs } from "./env.ts";
import { CniError, parseErrorResult, toErrorResult } from "./errors.ts";
import { parseNetworkList } from "./list.ts";
import { parseJsonObject, parseNetworkConfig } from "./netconf.ts";
import { formatResult, parseResult } from "./result.ts";
import { isInterfaceName, requireContainerId } from "./validate.ts";
import { supportedVersions } from "./versions.ts";

const rounds = 1500;

const corpus = [
  {
    cniVersion: "1.0.0",
    name: "net",
    type: "bridge",
    ipam: { type: "host-local", ranges: [[{ subnet: "10.0.0.0/8" }]] },
    dns: { nameservers: ["10.0.0.1"] },
    prevResult: {
      interfaces: [{ name: "eth0", sandbox: "/run/netns/x" }],
      ips: [{ interface: 0, address: "10.0.0.5/8", gateway: "10.0.0.1" }],
      routes: [{ dst: "0.0.0.0/0", mtu: 5 }],
    },
  },
  {
    cniVersion: "0.2.0",
    name: "net",
    type: "x",
    prevResult: { ip4: { ip: "10.0.0.5/8", routes: [{ dst: "::/0" }] } },
  },
  { name: "net", cniVersions: ["1.0.0"], plugins: [{ type: "a", capabilities: { x: true } }, { type: "b" }] },
];

/** Runs a parser; anything but its declared errors is a failure. */
function attempt(input: string, action: () => unknown): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if (!(error instanceof CniError) && !(error instanceof InvalidInput)) {
      throw new Error(`${(error as Error).stack}\nfor ${input.slice(0, 500)}`);
    }
    const { code, msg } = toErrorResult(error, "1.0.0");
    expect(code).toBeGreaterThan(0);
    expect(msg.length).toBeLessThan(2000);
    return false;
  }
}

test("configurations, lists and results", () => {
  const random = seededRandom(20260101);
  let accepted = 0;
  for (let i = 0; i < rounds; i++) {
    const base = corpus[i % corpus.length];
    let value: unknown = base;
    for (let n = 0; n <= random() * 3; n++) value = mutate(value, random);
    const whole = JSON.stringify(value) ?? "null";
    const text = random() < 0.3 ? scramble(whole, random) : whole;
    if (attempt(text, () => parseNetworkConfig(parseJsonObject(text, "x")))) accepted++;
    attempt(text, () => parseNetworkList(text));
    attempt(text, () => parseErrorResult(text));
    const prevResult = (value as { prevResult?: unknown } | null)?.prevResult;
    for (const version of supportedVersions) {
      attempt(text, () => {
        const parsed = parseResult(prevResult, version);
        // What was accepted can be written, and read again to the same.
        const written = formatResult(parsed, version);
        expect(formatResult(parseResult(written, version), version)).toEqual(written);
      });
    }
  }
  expect(accepted).toBeGreaterThan(rounds / 20);
});

test("CNI_ARGS, container ids and interface names", () => {
  const random = seededRandom(7);
  for (let i = 0; i < rounds; i++) {
    const args = scramble("IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.0.0.1;MAC=02:00:00:00:00:01", random);
    attempt(args, () => parseCniArgs(args));
    const name = scramble("abc-DEF_1.2.3/x:%d\n", random);
    attempt(name, () => expect(requireContainerId(name)).toMatch(/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/));
    if (isInterfaceName(name)) expect(name).not.toMatch(/[/:%\s\p{Cc}]|^\.\.?$|^$/u);
  }
});
