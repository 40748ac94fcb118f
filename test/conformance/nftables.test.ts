/** The fake kernel and the real one take and refuse the same, and hold the same afterwards. */
import { expect, test } from "bun:test";
import { FakeNftables } from "../../src/linux/fake/nftables.ts";
import { Transaction } from "../../src/linux/nftables/index.ts";
import { NftNamespace } from "../kernel/nft-fixture.ts";
import { needs, testWith } from "../lib/needs.ts";
import { cases, olderOutcomes, outcomeOf, ref, setup, stable } from "./nftables.ts";

const kernelTest = testWith(needs.root, needs.kernel("nftables"));

test.each(cases)("fake nf_tables: %s", (_name, outcome, change) => {
  const nft = new FakeNftables();
  nft.apply(setup());
  const before = nft.dump(ref);
  const tx = new Transaction(ref);
  change(tx);
  expect(outcomeOf(nft, tx)).toBe(outcome);
  if (outcome !== "ok") expect(nft.dump(ref)).toEqual(before);
});

// One namespace for all cases: making one takes longer than a case does.
kernelTest("the kernel's nf_tables takes and refuses as the fake does, and holds the same", () => {
  using namespace = new NftNamespace();
  const { nft } = namespace;
  for (const [name, outcome, change] of cases) {
    nft.apply(new Transaction(ref).destroy({ kind: "table", ...ref }));
    const fake = new FakeNftables();
    for (const side of [nft, fake]) side.apply(setup());
    const tx = new Transaction(ref);
    change(tx);
    const got = outcomeOf(nft, tx);
    expect({ name, outcome: got === olderOutcomes[name] ? outcome : got }).toEqual({ name, outcome });
    outcomeOf(fake, tx);
    expect([name, stable(nft.dump(ref))]).toEqual([name, stable(fake.dump(ref))]);
    const without = { elements: ({ kind }: { kind: string }) => kind === "map" };
    expect([name, stable(nft.dump(ref, without))]).toEqual([name, stable(fake.dump(ref, without))]);
  }
});
