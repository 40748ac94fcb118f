/** One value of a metric, with its labels. */
export interface Sample {
  labels?: Readonly<Record<string, string>>;
  value: number;
}

interface Metric {
  name: string;
  help: string;
  type: "counter" | "gauge";
  collect: () => number | Iterable<Sample>;
}

/** Metrics that are read when somebody asks: the owners keep plain numbers and register how to collect them. */
export class Metrics {
  readonly #metrics = new Map<string, Metric>();

  /** Registers a metric; a later one of the same name takes its place. */
  register(
    type: "counter" | "gauge",
    name: string,
    help: string,
    collect: () => number | Iterable<Sample>,
  ): void {
    this.#metrics.set(name, { name, help, type, collect });
  }

  /** The Prometheus text exposition format, version 0.0.4. */
  text(): string {
    const lines: string[] = [];
    for (const { name, help, type, collect } of this.#metrics.values()) {
      lines.push(
        `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`,
        `# TYPE ${name} ${type}`,
      );
      const collected = collect();
      const samples = typeof collected === "number" ? [{ value: collected }] : collected;
      for (const sample of samples) lines.push(`${name}${labelsOf(sample)} ${sample.value}`);
    }
    return `${lines.join("\n")}\n`;
  }
}

function labelsOf({ labels = {} }: Sample): string {
  const pairs = Object.entries(labels).map(([name, value]) => {
    const escaped = value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
    return `${name}="${escaped}"`;
  });
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}
