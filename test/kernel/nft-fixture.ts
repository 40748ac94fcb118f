import { Conntrack } from "../../src/linux/conntrack/index.ts";
import { createNetns, deleteNetns } from "../../src/linux/netns.ts";
import { Nftables } from "../../src/linux/nftables/index.ts";

let count = 0;

/** A network namespace of the test's own, with nf_tables open in it; both end with the `using` block. */
export class NftNamespace implements Disposable {
  readonly name: string;
  readonly nft: Nftables;
  readonly conntrack: Conntrack;
  readonly #shells: Bun.Subprocess<"pipe", "ignore", "ignore">[] = [];

  constructor() {
    count += 1;
    this.name = `weft-t-nft-${process.pid}-${count}`;
    createNetns(this.name);
    this.nft = new Nftables({ netns: { name: this.name } });
    this.conntrack = new Conntrack({ netns: { name: this.name } });
  }

  /** Runs a command inside; throws with its errors where it fails. */
  run(command: readonly string[], input = ""): string {
    const { success, stdout, stderr } = Bun.spawnSync(["ip", "netns", "exec", this.name, ...command], {
      stdin: Buffer.from(input),
    });
    if (!success) throw new Error(`${command.join(" ")}: ${stderr}`);
    return stdout.toString();
  }

  /** A shell inside that takes commands until the end of the test, and keeps its sockets open between them. */
  shell(): { type(line: string): void } {
    const shell = Bun.spawn(["ip", "netns", "exec", this.name, "bash"], {
      stdin: "pipe",
      stdout: "ignore",
      // A socket whose last packet was refused says so at its next one.
      stderr: "ignore",
    });
    this.#shells.push(shell);
    return {
      type(line) {
        shell.stdin.write(`${line}\n`);
        shell.stdin.flush();
      },
    };
  }

  [Symbol.dispose](): void {
    for (const shell of this.#shells) shell.kill(9);
    this.nft.close();
    this.conntrack.close();
    deleteNetns(this.name);
  }
}

/** Waits until a condition holds, looking often; throws what it waited for after five seconds. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await Bun.sleep(5);
  }
}
