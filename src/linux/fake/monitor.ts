import type { Monitor, MonitorTopic, RtnlEvent } from "../route/monitor.ts";

const topicOf: Record<RtnlEvent["object"], MonitorTopic | undefined> = {
  link: "links",
  address: "addresses",
  route: "routes",
  rule: "rules",
  neighbour: "neighbours",
  fdb: "neighbours",
  overrun: undefined,
};

/** Events of a fake namespace, told as the kernel does: later, in order. */
export class FakeMonitor implements Monitor {
  readonly #topics: ReadonlySet<MonitorTopic>;
  readonly #leave: (monitor: FakeMonitor) => void;
  readonly #events: RtnlEvent[] = [];
  #wake: (() => void) | undefined;
  #closed = false;

  constructor(topics: readonly MonitorTopic[], leave: (monitor: FakeMonitor) => void) {
    this.#topics = new Set(topics);
    this.#leave = leave;
  }

  /** Notes an event; "overrun" always, the others where they were asked for. */
  tell(event: RtnlEvent): void {
    const topic = topicOf[event.object];
    if (topic !== undefined && !this.#topics.has(topic)) return;
    this.#events.push(structuredEvent(event));
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<RtnlEvent> {
    try {
      while (!this.#closed) {
        const event = this.#events.shift();
        if (event !== undefined) yield event;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      await this.close();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#leave(this);
    this.#wake?.();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The state goes on changing; what was told does not. */
function structuredEvent(event: RtnlEvent): RtnlEvent {
  if (event.object === "overrun") return event;
  const { object, action, ...rest } = event;
  const [[name, value]] = Object.entries(rest) as [[string, object]];
  return { object, action, [name]: { ...value } } as RtnlEvent;
}
