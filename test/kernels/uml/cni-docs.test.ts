/** Those examples of docs/cni for which most kernels of today's machines have to be another one. */
import { setDefaultTimeout, test } from "bun:test";
import type { PluginName } from "../../../src/plugins/names.ts";
import { examples, furtherExamples, runExample } from "../../kernel/cni-examples.ts";

/** Starting programs is slow under this kernel. */
setDefaultTimeout(120_000);

const here = Object.entries(examples).filter(([, { guest }]) => guest === "uml");
test.each(here.map(([plugin]) => plugin as PluginName))(
  "the example of docs/cni/%s.md",
  async (plugin) => await runExample(plugin),
);

const further = furtherExamples.filter(({ guest }) => guest === "uml");
test.each(further.map(({ plugin, mark }) => [mark, plugin] as const))(
  'the example "%s" of docs/cni/%s.md',
  async (mark, plugin) => await runExample(plugin, mark),
);
