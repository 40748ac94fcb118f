import { describe, expect, test } from "bun:test";
import { explain } from "../../lib/errors.ts";
import { KernelError } from "../../linux/errors.ts";
import { FakeMachine } from "../../linux/fake/index.ts";
import type { Kernel } from "../../linux/kernel.ts";
import { preflight, type Trial } from "./preflight.ts";

const EOPNOTSUPP = 95;
const EPERM = 1;

/** A kernel without what `lack` takes away. */
function kernelWithout(lack: (kernel: Kernel) => void): Trial {
  return (attempt) => {
    const kernel = new FakeMachine().kernel();
    lack(kernel);
    attempt(kernel);
  };
}

const said = (trial: Trial, families: (4 | 6)[] = [4, 6]): string => {
  try {
    preflight(families, trial);
    return "";
  } catch (error) {
    return explain(error);
  }
};

/** A kind of link that the kernel does not know. */
const withoutKind = (kind: string) =>
  kernelWithout(({ rtnl: { links } }) => {
    const { add } = links;
    links.add = (link) => {
      if (link.kind === kind) throw new KernelError("add link", link.name ?? "", EOPNOTSUPP);
      return add.call(links, link);
    };
  });

const withoutFamily = (family: 4 | 6) =>
  kernelWithout(({ rtnl: { addresses } }) => {
    const { add } = addresses;
    addresses.add = (address) => {
      const is6 = String(address.address).includes(":");
      if (is6 === (family === 6)) throw new KernelError("add address", String(address.address), EOPNOTSUPP);
      return add.call(addresses, address);
    };
  });

const withoutNft = (errno: number) =>
  kernelWithout((kernel) => {
    kernel.nft.apply = () => {
      throw new KernelError("apply", "table inet weft-preflight", errno);
    };
  });

describe("preflight", () => {
  test("passes where nothing is missing", () => {
    expect(said(kernelWithout(() => {}))).toBe("");
  });

  const problem = "this kernel cannot do what pods' networks need: ";
  const remedy = ". Load the module, or boot a kernel that has it";
  const cases: [string, Trial, (4 | 6)[], string][] = [
    ["veth", withoutKind("veth"), [4], "veth pairs, CONFIG_VETH (module veth)"],
    ["IPv4", withoutFamily(4), [4, 6], "IPv4, CONFIG_INET"],
    [
      "IPv6",
      withoutFamily(6),
      [4, 6],
      "IPv6, CONFIG_IPV6, without ipv6.disable=1 on the kernel's command line",
    ],
    [
      "nftables",
      withoutNft(EOPNOTSUPP),
      [4],
      "nftables with NAT, CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT (modules nf_tables, nft_chain_nat, nft_nat)",
    ],
  ];
  for (const [what, trial, families, missing] of cases) {
    test(`names ${what}`, () => expect(said(trial, families)).toContain(missing));
  }

  test("names the bridge alone, in one sentence with the remedy", () => {
    expect(said(withoutKind("bridge"))).toBe(`${problem}bridges, CONFIG_BRIDGE (module bridge)${remedy}`);
  });

  test("says what the kernel said where the feature is there and something else is wrong", () => {
    expect(said(withoutNft(EPERM))).toContain("nft_nat): cannot apply table inet weft-preflight (EPERM)");
  });

  test("asks for no family that pods do not have", () => {
    expect(said(withoutFamily(6), [4])).toBe("");
    expect(said(withoutFamily(4), [6])).toBe("");
  });
});
