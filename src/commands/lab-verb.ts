import { WeftError } from "../lib/errors.ts";
import { type OptionSpecs, optionsHelp } from "./options.ts";

/** One verb of `weft lab`. */
export interface LabVerb {
  /** What follows `weft lab`, such as "exec POD -- CMD [ARGS]". */
  readonly usage: string;
  /** Half a line, for the list of verbs. */
  readonly summary: string;
  /** What it does, in lines of at most 118 characters. */
  readonly about: string;
  readonly specs: OptionSpecs;
  /** Command lines, without `weft`. */
  readonly examples: readonly string[];
  /** Runs with the arguments behind the verb; resolves to the exit status. */
  run(args: string[]): Promise<number>;
}

/** The whole of `weft lab VERB --help`. */
export function verbHelp({ usage, about, specs, examples }: LabVerb): string {
  const options = Object.keys(specs).length === 0 ? [] : [`Options:\n${optionsHelp(specs)}`];
  const shown = examples.map((example) => `  weft ${example}`).join("\n");
  const title = examples.length === 1 ? "Example" : "Examples";
  return [`Usage: weft lab ${usage}`, about, ...options, `${title}:\n${shown}`].join("\n\n");
}

/** Asks the lab over its control socket; its errors become ours. */
export async function askLab(socket: string, method: string, path: string): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(`http://lab${path}`, { method, unix: socket });
  } catch (error) {
    throw new WeftError("lab-silent", "the lab does not answer", {
      remedy: "End it: weft lab down",
      cause: error,
    });
  }
  if (answer.ok) return answer;
  const { error } = (await answer.json()) as { error: string };
  throw new WeftError("lab", error);
}
