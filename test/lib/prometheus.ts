/** The Prometheus text format, read as strictly as its description is written. */

export interface MetricFamily {
  type: string;
  help: string;
  samples: { labels: Record<string, string>; value: number }[];
}

const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const labelPair = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)/;
const numberText = /^(?:[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]Inf|NaN)$/;

/** Reads version 0.0.4 of the format; throws an error that shows the line at fault. */
export function parsePrometheus(text: string): Map<string, MetricFamily> {
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  const families = new Map<string, MetricFamily>();
  const seen = new Set<string>();
  let open = "";
  for (const line of text.split("\n").slice(0, -1)) {
    const fail = (problem: string) => new Error(`${problem}: ${JSON.stringify(line)}`);
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (comment !== null) {
      const [, keyword, name = "", rest = ""] = comment;
      if (!metricName.test(name)) throw fail("no name of a metric");
      const family = families.get(name) ?? { type: "untyped", help: "", samples: [] };
      if (family.samples.length > 0) throw fail("a comment behind the samples");
      if (keyword === "HELP") family.help = rest;
      else if (/^(counter|gauge|histogram|summary|untyped)$/.test(rest)) family.type = rest;
      else throw fail("no type");
      families.set(name, family);
      open = name;
      continue;
    }
    const sample = /^([^\s{]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (sample === null) throw fail("no sample");
    const [, name = "", labelText = "", value = ""] = sample;
    const family = families.get(name);
    if (family === undefined || name !== open) throw fail("a sample away from its family");
    if (!numberText.test(value)) throw fail("no number");
    const key = `${name}{${labelText}}`;
    if (seen.has(key)) throw fail("a sample twice");
    seen.add(key);
    family.samples.push({ labels: labelsOf(labelText, fail), value: numberOf(value) });
  }
  for (const [name, { type, samples }] of families) {
    if (type === "counter" && samples.some(({ value }) => value < 0 || Number.isNaN(value))) {
      throw new Error(`the counter ${name} is no count`);
    }
  }
  return families;
}

function labelsOf(text: string, fail: (problem: string) => Error): Record<string, string> {
  const labels: Record<string, string> = {};
  for (let rest = text; rest !== ""; ) {
    const [whole = "", name = "", value = ""] = labelPair.exec(rest) ?? [];
    if (whole === "" || name in labels) throw fail("no labels");
    labels[name] = value.replace(/\\(.)/g, (_, character) => (character === "n" ? "\n" : character));
    rest = rest.slice(whole.length);
  }
  return labels;
}

const numberOf = (text: string) =>
  text.endsWith("Inf")
    ? text.startsWith("-")
      ? Number.NEGATIVE_INFINITY
      : Number.POSITIVE_INFINITY
    : Number(text);
