import { mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import type { ZoneHandlers } from "../dns/index.ts";
import type { Handlers, Informer } from "../kube/informer.ts";
import type { KubeObject } from "../kube/types.ts";
import { explain } from "../lib/errors.ts";
import type { AgentConfig } from "./config.ts";
import type { AgentContext } from "./feature.ts";

/** From the first change to the writing, and at least from one writing to the next: milliseconds. */
const soonest = 1_000;
const pause = 10_000;
/** How much is written at a time; queries are answered in between. Characters. */
const piece = 1 << 16;

/** The first line of the file; each further one is the kind and an object as the agent keeps it. */
interface Header {
  format: 1;
  node: string;
  written: string;
}

type Kind = Exclude<keyof ZoneHandlers, "pods">;

interface Source {
  informer: Informer<KubeObject>;
  /** What the API tells goes here, and so does what is recalled. */
  handlers: Required<Handlers<KubeObject>>;
}

/**
 * What has names, as it was last known, in a file: an agent that is restarted while the API server is away answers by
 * it. Each network namespace has its own file, as it has an agent of its own.
 */
export class NameMemory {
  readonly #context: AgentContext;
  readonly #path: string;
  readonly #sources: Record<Kind, Source>;
  #recalled: [Kind, KubeObject][] = [];
  #cancel: (() => void) | undefined;
  #writing: Promise<void> | undefined;
  #writtenAt = 0;
  #problem = "";

  constructor(context: AgentContext, handlers: ZoneHandlers) {
    const { informers } = context;
    this.#context = context;
    this.#path = memoryPath(context.config);
    this.#sources = {
      namespaces: { informer: informers.namespaces(), handlers: handlers.namespaces },
      services: { informer: informers.services(), handlers: handlers.services },
      endpointSlices: { informer: informers.endpointSlices(), handlers: handlers.endpointSlices },
    };
  }

  /**
   * Hands over what was last known of the kinds that the API server has not told yet. Answers when it was known, or
   * undefined where there is nothing to go by.
   */
  recall(): string | undefined {
    const { log, nodeName } = this.#context;
    if (Object.values(this.#sources).every(({ informer }) => informer.hasSynced)) return undefined;
    try {
      const [first = "", ...lines] = readFileSync(this.#path, "utf8").trimEnd().split("\n");
      const { format, node, written } = JSON.parse(first) as Header;
      if (format !== 1 || node !== nodeName) return undefined;
      for (const line of lines) {
        const [kind, object] = JSON.parse(line) as [Kind, KubeObject];
        const { informer, handlers } = this.#sources[kind];
        if (informer.hasSynced) continue;
        handlers.add(object);
        this.#recalled.push([kind, object]);
      }
      return written;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      log.warn("Cannot recall names", { path: this.#path, error: explain(error) });
      return undefined;
    }
  }

  /** The API server has told all: takes back what it has no more, and from now on writes down what it tells. */
  follow(): void {
    for (const [kind, object] of this.#recalled) {
      const { informer, handlers } = this.#sources[kind];
      if (informer.get(object.metadata) === undefined) handlers.delete(object);
    }
    this.#recalled = [];
    const changed = () => this.#writeSoon();
    for (const { informer } of Object.values(this.#sources)) {
      informer.on({ add: changed, update: changed, delete: changed });
    }
  }

  /** Writes what is not written yet. */
  async close(): Promise<void> {
    const dirty = this.#cancel !== undefined;
    this.#cancel?.();
    this.#cancel = undefined;
    await this.#writing;
    if (dirty) await this.#write();
  }

  #writeSoon(): void {
    if (this.#cancel !== undefined) return;
    const { clock } = this.#context;
    const delay = Math.max(soonest, this.#writtenAt + pause - clock.now());
    this.#cancel = clock.after(delay, () => {
      this.#cancel = undefined;
      this.#writing = this.#write();
    });
  }

  async #write(): Promise<void> {
    const { clock, log } = this.#context;
    this.#writtenAt = clock.now();
    const temporary = `${this.#path}.tmp`;
    try {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
      const file = await open(temporary, "w", 0o600);
      try {
        for (const text of this.#text()) await file.write(text);
      } finally {
        await file.close();
      }
      await rename(temporary, this.#path);
      this.#problem = "";
    } catch (error) {
      const problem = explain(error);
      if (problem === this.#problem) return;
      this.#problem = problem;
      log.warn("Cannot write down names for a restart without API server", {
        path: this.#path,
        error: problem,
      });
    }
  }

  *#text(): Generator<string> {
    const { clock, nodeName } = this.#context;
    const header: Header = { format: 1, node: nodeName, written: new Date(clock.now()).toISOString() };
    let text = `${JSON.stringify(header)}\n`;
    for (const [kind, { informer }] of Object.entries(this.#sources)) {
      for (const object of informer.list()) {
        text += `${JSON.stringify([kind, object])}\n`;
        if (text.length < piece) continue;
        yield text;
        text = "";
      }
    }
    yield text;
  }
}

/** Removes the file; true where there was one. */
export function forgetNames(config: Pick<AgentConfig, "stateDir">): boolean {
  const path = memoryPath(config);
  rmSync(`${path}.tmp`, { force: true });
  const there = statSync(path, { throwIfNoEntry: false }) !== undefined;
  rmSync(path, { force: true });
  return there;
}

function memoryPath({ stateDir }: Pick<AgentConfig, "stateDir">): string {
  return `${stateDir}/names-${statSync("/proc/self/ns/net").ino}.jsonl`;
}
