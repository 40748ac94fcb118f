/** The examples of weft/linux do what they say, and leave nothing behind. */
import { expect } from "bun:test";
import { join } from "node:path";
import { listNetns } from "../../src/linux/netns.ts";
import { needs, testWith } from "../lib/needs.ts";

const kernelTest = testWith(needs.root, needs.kernel("nftables"));
const root = join(import.meta.dir, "../..");

const examples: [name: string, says: string[]][] = [
  [
    "pair",
    [
      "a is up, mtu 1500, a veth link",
      "to 192.0.2.2 from 192.0.2.1",
      "b answers: good day",
      "a knows 192.0.2.2 at 0a:00:c0:00:02:02",
    ],
  ],
  [
    "watch-routes",
    [
      "0 routes of ours",
      "change 2: is there already",
      "new unicast 203.0.113.0/25 via 198.51.100.2 protocol weft",
      "new blackhole 203.0.113.128/25 protocol weft",
      "delete unicast 203.0.113.0/25 via 198.51.100.2 protocol weft",
    ],
  ],
  [
    "nft-set",
    [
      "blocked: 198.51.100.7",
      "blocked: 203.0.113.0/24",
      "1 chain, 1 rule",
      expect.stringMatching(
        /^cannot delete element "10\.0\.0\.0\/8" of set "blocked" in table inet example.*ENOENT/,
      ),
    ],
  ],
];
for (const [name, says] of examples) {
  kernelTest(`examples/linux/${name}.ts`, async () => {
    const child = Bun.spawn([process.execPath, join(root, `examples/linux/${name}.ts`)], {
      cwd: root,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: 20_000,
    });
    const [said, complained] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect(complained).toBe("");
    expect(said.trimEnd().split("\n")).toEqual(says);
    expect(await child.exited).toBe(0);
    expect(
      listNetns().filter((one) => one.startsWith("weft-example-") && one.endsWith(`-${child.pid}`)),
    ).toEqual([]);
  });
}
