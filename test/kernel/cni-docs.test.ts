/** The examples of docs/cni, as a reader would run them; see cni-examples.ts. Some also run under test/kernels/uml. */
import { expect, setDefaultTimeout } from "bun:test";
import { type PluginName, pluginNames } from "../../src/plugins/names.ts";
import { needs, testWith } from "../lib/needs.ts";
import { examples, runExample } from "./cni-examples.ts";

setDefaultTimeout(60_000);

for (const [plugin, { needs: own, guest }] of Object.entries(examples)) {
  const missing = own.map((need) => (need && guest ? `${need}; test/kernels/${guest} has it` : need));
  testWith(needs.root, ...missing)(
    `the example of docs/cni/${plugin}.md`,
    async () => await runExample(plugin as PluginName),
  );
}

testWith()("there is an example of every plugin", () => {
  expect(Object.keys(examples).sort()).toEqual([...pluginNames]);
});
