import type { PluginRequest } from "../../cni/plugin.ts";

/** Takes back one step of an ADD. */
export type Undo = () => void | Promise<void>;

/**
 * Runs an ADD, which pushes to its list how to take back each step that it makes. Where it fails, they are taken back
 * from the last to the first, and the failure is thrown on.
 */
export async function withUndo<T>(request: PluginRequest, add: (undo: Undo[]) => T | Promise<T>): Promise<T> {
  const undo: Undo[] = [];
  try {
    return await add(undo);
  } catch (error) {
    for (const step of undo.reverse()) await attempt(step, request);
    throw error;
  }
}

async function attempt(step: Undo, request: PluginRequest): Promise<void> {
  try {
    await step();
  } catch (error) {
    request.warn(`while taking back a failed ADD: ${(error as Error).message}`);
  }
}
