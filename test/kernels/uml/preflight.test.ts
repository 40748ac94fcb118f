import { expect, test } from "bun:test";
import { preflight } from "../../../src/agent/cni/preflight.ts";
import { explain } from "../../../src/lib/errors.ts";
import { listNetns } from "../../../src/linux/netns.ts";

test("names what this kernel lacks: nftables beyond bridges", () => {
  const before = listNetns();
  let said = "";
  try {
    preflight([4, 6]);
  } catch (error) {
    said = explain(error);
  }
  expect(said).toStartWith(
    "this kernel cannot do what pods' networks need: nftables with NAT, CONFIG_NF_TABLES, ",
  );
  expect(said).toEndWith("Load the module, or boot a kernel that has it");
  expect(said.split(";")).toHaveLength(1);
  expect(listNetns()).toEqual(before);
});
