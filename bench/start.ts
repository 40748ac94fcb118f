import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileFlags, ignoreBunVariables } from "../scripts/build.mjs";
import { type Bench, type Row, timePairs, timeProgram } from "./lib.ts";

const dist = join(import.meta.dir, "../dist");
const reference = "/usr/lib/cni/bridge";

/** The least that a compiled Bun program can be, made with the flags that Weft is made with. */
function compileEmpty(folder: string): string {
  const [source, program] = [join(folder, "empty.ts"), join(folder, "empty")];
  writeFileSync(source, "export {};\n");
  timeProgram({ command: [process.execPath, "build", ...compileFlags, `--outfile=${program}`, source] });
  ignoreBunVariables(program);
  return program;
}

const bench: Bench = {
  name: "start",
  describe:
    "How long a process of Weft takes from its start to its end when there is nothing to do: a CNI plugin's VERSION " +
    "against an empty compiled Bun program and against the reference plugin, and `weft --version`.",
  async run({ pairs }) {
    const folder = mkdtempSync(join(tmpdir(), "weft-bench-start-"));
    try {
      const empty = compileEmpty(folder);
      const plugin = join(dist, "cni/bridge");
      const env = { CNI_COMMAND: "VERSION", CNI_PATH: join(dist, "cni") };
      const stdin = '{"cniVersion":"1.0.0"}';
      const pair = async (
        name: string,
        command: string[],
        peerName: string,
        peer: string[],
      ): Promise<Row> => {
        const times = await timePairs(
          () => timeProgram({ command, env, stdin }),
          () => timeProgram({ command: peer, env, stdin }),
          { pairs, warmUp: 5 },
        );
        return { name, unit: "ms", peerName, ...times };
      };
      const rows: Row[] = [
        { ...(await pair("weft-cni VERSION", [plugin], "an empty Bun program", [empty])), goal: 1.25 },
        await pair("weft --version", [join(dist, "weft"), "--version"], "an empty Bun program", [empty]),
      ];
      if (existsSync(reference)) {
        rows.push(await pair("weft-cni VERSION", [plugin], "reference bridge VERSION", [reference]));
      }
      return {
        rows,
        conditions: existsSync(reference) ? [] : [`no reference plugin: ${reference} is not there`],
      };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

export default bench;
