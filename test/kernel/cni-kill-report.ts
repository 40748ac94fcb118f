/**
 * The sweep of cni-kill.test.ts for Weft's plugins and for the reference's, as a table for docs/cni/kills.md:
 *
 *     npm run build && node_modules/.bin/bun test/kernel/cni-kill-report.ts
 */
import { ownPlugins, referencePlugins } from "./cni-fixture.ts";
import { KillScene, type Trial } from "./cni-kill.ts";

const sides = [
  { name: "Weft", plugins: ownPlugins, options: { served: true, version: "1.1.0" } },
  {
    name: "reference",
    plugins: referencePlugins,
    options: { served: false, version: "1.0.0", threads: true },
  },
];

/** What is left, in words that do not depend on the trial. */
function leftOf({ afterDel, problem }: Trial): string[] {
  const kinds = afterDel.map((line) =>
    line
      .replace(/^gone: /, "lost ")
      .split(" ")
      .slice(0, 2)
      .join(" "),
  );
  const names = kinds.map((kind) =>
    kind.replace(/ (veth|bwp)\w+$/, " $1...").replace(/ [0-9a-f]*[.:][0-9a-f.:/]+$/, ""),
  );
  return problem === undefined ? names : [...names, "DEL or the next ADD failed"];
}

console.log("| plugins | killed in | kills | something left | what |\n| --- | --- | ---: | ---: | --- |");
for (const { name, plugins, options } of sides) {
  for (const [index, type] of ["bridge", "portmap", "bandwidth", "tuning"].entries()) {
    for (const command of ["ADD", "DEL"] as const) {
      const trials: Trial[] = [];
      // What is left would count for the trials behind it: each has a host of its own once something was.
      let scene: KillScene | undefined;
      const fresh = async () => {
        await scene?.[Symbol.asyncDispose]();
        scene = new KillScene(plugins, options);
        await scene.prepare();
        return scene;
      };
      let current = await fresh();
      for (const point of await current.points(command, index, "process")) {
        const trial = await current.trial(command, index, "process", point);
        trials.push(trial);
        if (leftOf(trial).length > 0) current = await fresh();
      }
      await current[Symbol.asyncDispose]();
      const killed = trials.filter(({ wasKilled }) => wasKilled);
      const faults = killed.filter((trial) => leftOf(trial).length > 0);
      const what = [...new Set(faults.flatMap(leftOf))].sort().join(", ");
      console.log(`| ${name} | ${type} ${command} | ${killed.length} | ${faults.length} | ${what} |`);
    }
  }
}
