/** No system call of ADD and DEL of the usual chain is a bad moment to be killed. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { needs, testWith } from "../lib/needs.ts";
import { ownPlugins } from "./cni-fixture.ts";
import { KillScene, type Trial } from "./cni-kill.ts";

const needed = [needs.root, needs.kernel("bridge"), needs.kernel("nftables"), needs.command("strace")];
const test = testWith(...needed);
/** For all points of one command of one plugin. Milliseconds. */
const patience = 120_000;

describe("a kill at every change of", () => {
  let scene: KillScene;

  beforeAll(async () => {
    if (needed.some((need) => need !== undefined)) return;
    scene = new KillScene(ownPlugins, { served: true, version: "1.1.0" });
    await scene.prepare();
  });
  afterAll(async () => await scene?.[Symbol.asyncDispose]());

  for (const [index, type] of ["bridge", "portmap", "bandwidth", "tuning"].entries()) {
    for (const command of ["ADD", "DEL"] as const) {
      for (const victim of ["process", "server"] as const) {
        test(
          `the ${victim} of ${type} ${command} leaves nothing after DEL`,
          async () => {
            expect(scene.types[index]).toBe(type);
            const points = await scene.points(command, index, victim);
            expect(points.length).toBeGreaterThan(3);
            const trials: Trial[] = [];
            for (const point of points) trials.push(await scene.trial(command, index, victim, point));
            const faults = trials.filter(
              ({ afterDel, afterGc, problem }) =>
                afterDel.length > 0 || afterGc.length > 0 || problem !== undefined,
            );
            expect(faults).toEqual([]);
            // A few may not be reached again, such as where something is asked for until it is so.
            const killed = trials.filter(({ wasKilled }) => wasKilled);
            expect(killed.length).toBeGreaterThanOrEqual(Math.min(points.length - 2, points.length * 0.8));
          },
          patience,
        );
      }
    }
  }
});
