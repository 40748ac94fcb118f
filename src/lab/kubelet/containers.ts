import { closeSync, openSync } from "node:fs";
import type { Container } from "../../kube/types.ts";
import { type Clock, sleep } from "../../lib/clock.ts";
import { selfCommand } from "../../lib/self.ts";
import { type ContainerSpec, spawnIn } from "../container.ts";
import { probeOnce } from "./probe.ts";
import type { ContainerState } from "./status.ts";

/** Where and with what the containers of one pod run. */
export interface ContainerSetting {
  netns: string | undefined;
  podIP: string;
  clock: Clock;
  specOf(container: Container): ContainerSpec;
  logFile(container: Container): string;
  /** Called after each change of the container's state. */
  changed(): void;
}

const restartDelayMin = 1_000;
const restartDelayMax = 30_000;
/** A container that ran this long starts afresh with the shortest delay. */
const restartForgiveness = 60_000;

/** One container of a pod: its process, restarts and probes. */
export class ContainerRunner {
  readonly container: Container;
  readonly #setting: ContainerSetting;
  #state: ContainerState = {
    restarts: 0,
    ready: false,
    state: { kind: "waiting", reason: "ContainerCreating" },
  };
  #process: Bun.Subprocess | undefined;
  #probing: AbortController | undefined;
  #stopping = false;
  #cancelRestart: (() => void) | undefined;
  #delay = restartDelayMin;

  constructor(container: Container, setting: ContainerSetting) {
    this.container = container;
    this.#setting = setting;
  }

  get state(): ContainerState {
    return this.#state;
  }

  /** The process id of the running container. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts the process; `restart` decides by the exit code whether it is started again. Resolves at its first end. */
  start(restart: (exitCode: number) => boolean): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number>();
    this.#launch(restart, resolve);
    return promise;
  }

  #launch(restart: (exitCode: number) => boolean, ended: (exitCode: number) => void): void {
    const { clock } = this.#setting;
    const startedAt = timestamp(clock);
    const begun = clock.now();
    const spec = this.#setting.specOf(this.container);
    const log = openSync(this.#setting.logFile(this.container), "a");
    try {
      this.#process = spawnIn(
        this.#setting.netns,
        [...selfCommand(), "lab", "container", JSON.stringify(spec)],
        {
          env: spec.env,
          output: log,
          onExit: (exitCode) => {
            this.#process = undefined;
            this.#probing?.abort();
            if (clock.now() - begun > restartForgiveness) this.#delay = restartDelayMin;
            this.#exited(exitCode, startedAt, restart, ended);
          },
        },
      );
    } finally {
      closeSync(log);
    }
    const probe = this.container.readinessProbe;
    this.#update({ ready: probe === undefined, state: { kind: "running", startedAt } });
    this.#probing = new AbortController();
    void this.#probe(this.#probing.signal);
  }

  #exited(
    exitCode: number,
    startedAt: string,
    restart: (exitCode: number) => boolean,
    ended: (exitCode: number) => void,
  ): void {
    const run = { exitCode, startedAt, finishedAt: timestamp(this.#setting.clock) };
    if (this.#stopping || !restart(exitCode)) {
      this.#update({ ready: false, state: { kind: "terminated", ...run } });
      ended(exitCode);
      return;
    }
    this.#update({
      ready: false,
      restarts: this.#state.restarts + 1,
      last: run,
      state: {
        kind: "waiting",
        reason: "CrashLoopBackOff",
        message: `back-off ${this.#delay / 1000}s restarting failed container "${this.container.name}"`,
      },
    });
    this.#cancelRestart = this.#setting.clock.after(this.#delay, () => this.#launch(restart, ended));
    this.#delay = Math.min(this.#delay * 2, restartDelayMax);
    ended(exitCode);
  }

  async #probe(signal: AbortSignal): Promise<void> {
    const { clock, podIP } = this.#setting;
    const probe = this.container.readinessProbe;
    if (probe === undefined) return;
    let successes = 0;
    let failures = 0;
    const period = (probe.periodSeconds ?? 10) * 1000;
    try {
      await sleep(clock, (probe.initialDelaySeconds ?? 0) * 1000, signal);
      for (;;) {
        const passed = await probeOnce(probe, this.container, podIP, (command) => this.exec(command));
        if (signal.aborted) return;
        [successes, failures] = passed ? [successes + 1, 0] : [0, failures + 1];
        if (passed && successes >= (probe.successThreshold ?? 1)) this.#update({ ready: true });
        if (!passed && failures >= (probe.failureThreshold ?? 3)) this.#update({ ready: false });
        // Until it is ready for the first time, a pod is asked more often, as kubelet does.
        const wait = this.#state.ready || failures > 40 ? period : Math.min(period, 50 + failures * 25);
        await sleep(clock, wait, signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Runs a command beside the container, in its namespaces; resolves to its exit status. */
  async exec(command: string[]): Promise<number> {
    const spec = { ...this.#setting.specOf(this.container), image: "weft/host", command };
    const log = openSync("/dev/null", "w");
    try {
      return await spawnIn(
        this.#setting.netns,
        [...selfCommand(), "lab", "container", JSON.stringify(spec)],
        {
          env: spec.env,
          output: log,
        },
      ).exited;
    } finally {
      closeSync(log);
    }
  }

  /** Ends the process: SIGTERM, and SIGKILL when the grace period (milliseconds) is over. */
  async stop(grace: number): Promise<void> {
    this.#stopping = true;
    this.#cancelRestart?.();
    this.#probing?.abort();
    const running = this.#process;
    if (running === undefined) return;
    running.kill("SIGTERM");
    const cancel = this.#setting.clock.after(grace, () => running.kill("SIGKILL"));
    await running.exited;
    cancel();
  }

  #update(change: Partial<ContainerState>): void {
    const before = this.#state;
    this.#state = { ...before, ...change };
    if (JSON.stringify(before) !== JSON.stringify(this.#state)) this.#setting.changed();
  }
}

/** RFC 3339 to the second, as the API shows times. */
export function timestamp(clock: Clock): string {
  return new Date(clock.now()).toISOString().replace(/\.\d+Z$/, "Z");
}
