/**
 * The sweep of cni-kill.test.ts for Weft's plugins and for the reference's, as a table for docs/cni/kills.md:
 *
 *     npm run build && node_modules/.bin/bun test/kernel/cni-kill-report.ts
 *
 * The reference has many threads and starts other programs, which count too: of its points some are taken, evenly.
 */
import { ownPlugins, referencePlugins } from "./cni-fixture.ts";
import { KillScene, type Trial } from "./cni-kill.ts";

/** Kills for each command of a plugin, at most. */
const most = 40;

const sides = [
  { name: "Weft", plugins: ownPlugins, options: { served: true, version: "1.1.0", threads: false } },
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
    kind
      .replace(/ (veth|bwp)\w+$/, " $1...")
      .replace(/(file \w+)\/.*/, "$1/...")
      .replace(/ [0-9a-f]*[.:][0-9a-f.:/]+$/, ""),
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
      const points = await current.points(command, index, "process");
      const step = options.threads ? Math.ceil(points.length / most) : 1;
      for (const point of points.filter((_, i) => i % step === 0)) {
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
