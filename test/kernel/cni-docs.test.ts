/** The examples of docs/cni, as a reader would run them; see cni-examples.ts. Some also run under test/kernels/uml. */
import { expect, setDefaultTimeout } from "bun:test";
import { type PluginName, pluginNames } from "../../src/plugins/names.ts";
import { needs, testWith } from "../lib/needs.ts";
import { type Example, examples, examplesOf, furtherExamples, runExample } from "./cni-examples.ts";

setDefaultTimeout(60_000);

/** Each example: the plugin, and the mark of its block where the page has several. */
const all: (Example & { plugin: string; mark?: string })[] = [
  ...Object.entries(examples).map(([plugin, example]) => ({ plugin, ...example })),
  ...furtherExamples,
];

for (const { plugin, mark, needs: own, guest } of all) {
  const missing = own.map((need) => (need && guest ? `${need}; test/kernels/${guest} has it` : need));
  testWith(needs.root, ...missing)(
    `the example ${mark === undefined ? "" : `"${mark}" `}of docs/cni/${plugin}.md`,
    async () => await runExample(plugin as PluginName, mark),
  );
}

testWith()("every example of every plugin's page is run", () => {
  expect(Object.keys(examples).sort()).toEqual([...pluginNames]);
  const there = pluginNames.flatMap((plugin) =>
    examplesOf(plugin).map(({ marks }) => [plugin, ...marks].join(" ")),
  );
  const run = all.map(({ plugin, mark = "" }) => `${plugin} ${mark}`.trim());
  expect(there.sort()).toEqual(run.sort());
});
