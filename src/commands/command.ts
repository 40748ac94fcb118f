/** One command of `weft`: `weft NAME ARGS`. Each lives in its own file and is loaded only when it is called. */
export interface Command {
  /** As it is typed. */
  readonly name: string;
  /** One line, for the list in `weft --help`. */
  readonly summary: string;
  /** The whole of `weft NAME --help`. */
  readonly help: string;
  /** Of a command with verbs: the help of the verb with which the arguments begin; undefined where there is none. */
  helpOf?(args: readonly string[]): string | undefined;
  /** Runs with the arguments behind the name; resolves to the exit status. */
  run(args: string[]): Promise<number>;
}

/** Exit statuses: done; a check failed or the work could not be done; the command line is wrong. */
export const exitStatus = { ok: 0, failure: 1, usage: 2 } as const;
