import { relative } from "node:path";
import type { WriteStream } from "node:tty";
import { selfCommand } from "../lib/self.ts";
import type { CheckResult, LabEvent, LabStatus } from "./model.ts";
import { coloured, drawLab, type Palette, plain } from "./picture.ts";
import { readEvents } from "./streams.ts";

/** How this executable is called from here: by its name where it is on PATH, else by its path. */
function selfName(): string {
  const [self = "weft"] = selfCommand();
  return Bun.which("weft") === self ? "weft" : relative(process.cwd(), self);
}

const spinner = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";

/** What the lab shows while it works: progress, the table of checks as it fills, the picture. */
export class LabView {
  readonly #out: WriteStream;
  readonly #palette: Palette;
  readonly #live: boolean;
  #group = "";
  #turn: Timer | undefined;

  constructor(out: WriteStream) {
    this.#out = out;
    // Whoever read it may have ended, as in `weft lab up | head`: the work goes on.
    out.on("error", () => {});
    this.#live = out.isTTY === true && process.env.TERM !== "dumb";
    this.#palette = this.#live && process.env.NO_COLOR === undefined ? coloured : plain;
  }

  /** Shows a stream of events to its end. True where its verdict is good. */
  async show(response: Response): Promise<boolean> {
    const { good, bad, soft, strong } = this.#palette;
    let ok = false;
    this.#wait("...");
    try {
      for await (const event of readEvents<LabEvent>(response)) {
        this.#clear();
        if (event.kind === "progress") {
          this.#line(`${soft(`${(event.at / 1000).toFixed(2).padStart(6)} s`)}  ${event.message}`);
        } else if (event.kind === "check") this.#row(event);
        else {
          ok = event.ok;
          this.#group = "";
          this.#line(`${(ok ? good : bad)(strong(event.message))}\n`);
        }
        this.#wait(event.kind === "check" ? event.group : "...");
      }
    } finally {
      this.#clear();
    }
    return ok;
  }

  #row({ group, name, ok, detail }: CheckResult): void {
    const { good, bad, strong } = this.#palette;
    if (group !== this.#group) this.#line(strong(group));
    this.#group = group;
    const mark = ok ? good("✓") : bad("✗");
    this.#line(`  ${mark} ${name.padEnd(38)} ${detail}`);
  }

  /** The lab as a tree. */
  picture(status: LabStatus): void {
    if (status.phase !== "ready") this.#line(this.#palette.strong(`The lab is ${status.phase}`));
    this.#line(`${drawLab(status, this.#palette)}\n`);
  }

  /** What one can do next. */
  goOn({ bound }: { bound: boolean }): void {
    const weft = selfName();
    const lines: [string, string][] = [
      [`${weft} lab status`, "nodes, pods, addresses, routes"],
      [`${weft} lab exec deploy/blue -- ip address`, "any command, in a pod's network"],
      [`export KUBECONFIG=$(${weft} lab kubeconfig)`, ""],
      ["kubectl get pods -o wide", "or scale, apply, delete, watch"],
      [`${weft} lab down`, bound ? "ends it; so does Ctrl-C here" : "ends it"],
    ];
    this.#line("The lab is up. Go on with");
    for (const [command, what] of lines) {
      this.#line(what === "" ? `  ${command}` : `  ${command.padEnd(44)}  ${this.#palette.soft(what)}`);
    }
  }

  /** Where to look for what went wrong. */
  logsAt(folder: string | undefined): void {
    if (folder !== undefined) this.#line(`The logs are kept in ${folder}`);
  }

  /** The lab goes; nothing of it stays. */
  taking(): void {
    this.#clear();
    this.#line(this.#palette.soft("Taking the lab down"));
  }

  #line(text: string): void {
    this.#out.write(`${text}\n`);
  }

  /** On a terminal, a last line that moves while something is awaited. */
  #wait(what: string): void {
    if (!this.#live) return;
    let frame = 0;
    this.#turn = setInterval(() => {
      this.#out.write(`\r${spinner[frame++ % spinner.length]} ${what}\x1b[K`);
    }, 80);
  }

  #clear(): void {
    if (this.#turn === undefined) return;
    clearInterval(this.#turn);
    this.#turn = undefined;
    this.#out.write("\r\x1b[K");
  }
}
