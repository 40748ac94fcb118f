import type { MonitorTopic, RtnlEvent } from "../linux/route/monitor.ts";
import type { AgentContext } from "./feature.ts";

/** Calls back again and again, so many milliseconds apart, until the agent stops. */
export function repeat(
  { clock, signal }: Pick<AgentContext, "clock" | "signal">,
  interval: number,
  callback: () => void,
): void {
  let cancel = () => {};
  const next = () => {
    cancel = clock.after(interval, () => {
      callback();
      next();
    });
  };
  next();
  signal.addEventListener("abort", () => cancel(), { once: true });
}

/** Resolves when the agent stops. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** How often the kernel is looked at for what no event tells of, in milliseconds. */
export const checkInterval = 60_000;

/** Hands on what the kernel tells, from now on until the agent stops. */
export async function followKernel(
  { kernel, signal }: Pick<AgentContext, "kernel" | "signal">,
  topics: readonly MonitorTopic[],
  happened: (event: RtnlEvent) => void,
): Promise<void> {
  if (signal.aborted) return;
  const monitor = kernel.rtnl.monitor(...topics);
  signal.addEventListener("abort", () => void monitor.close(), { once: true });
  for await (const event of monitor) {
    if (signal.aborted) return;
    happened(event);
  }
}
