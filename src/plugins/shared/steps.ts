import type { PluginRequest } from "../../cni/plugin.ts";

/**
 * Runs the steps of a DEL one after the other, each of them also where one before failed: what can go, goes. The first
 * failure is thrown in the end, so that the runtime calls again; the others are told as warnings.
 */
export async function doAll(
  request: PluginRequest,
  steps: readonly (() => void | Promise<void>)[],
): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      failures.push(error);
    }
  }
  const [first, ...more] = failures;
  for (const error of more) request.warn((error as Error).message);
  if (failures.length > 0) throw first;
}
