import { filtersOf, matches, requireConditions } from "../conntrack/filter.ts";
import type { ConntrackApi, Flow, FlowFilter, FlowTuple } from "../conntrack/model.ts";

/** What a test says of a connection; the rest follows from it. */
export type FlowSeed = Pick<Flow, "original"> & Partial<Omit<Flow, "original" | "id" | "family">>;

/** Connection tracking without a kernel, for tests: connections are there when a test adds them, until deleted. */
export class FakeConntrack implements ConntrackApi {
  #flows: Flow[] = [];
  #ids = 0;

  /** Adds a connection; its answers come from where it went, where nothing else is said. */
  add(seed: FlowSeed): Flow {
    this.#ids += 1;
    const flow: Flow = {
      reply: answersTo(seed.original),
      status: 0,
      timeout: 30,
      mark: 0,
      zone: 0,
      ...seed,
      id: this.#ids,
      family: seed.original.source.family,
    };
    this.#flows.push(flow);
    return flow;
  }

  list(filter: FlowFilter | readonly FlowFilter[] = {}): Flow[] {
    const filters = filtersOf(filter);
    return this.#flows.filter((flow) => filters.some((candidate) => matches(candidate, flow)));
  }

  delete(filter: FlowFilter | readonly FlowFilter[]): number {
    requireConditions(filtersOf(filter));
    const gone = new Set(this.list(filter));
    this.#flows = this.#flows.filter((flow) => !gone.has(flow));
    return gone.size;
  }

  count(): number {
    return this.#flows.length;
  }

  close(): void {}
}

function answersTo(tuple: FlowTuple): FlowTuple {
  const { source, destination, sourcePort, destinationPort, ...rest } = tuple;
  return {
    ...rest,
    source: destination,
    destination: source,
    ...(destinationPort !== undefined && { sourcePort: destinationPort }),
    ...(sourcePort !== undefined && { destinationPort: sourcePort }),
  };
}
