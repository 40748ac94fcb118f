import { createNetns, deleteNetns, type NetnsRef } from "../../src/linux/netns.ts";
import { Rtnl } from "../../src/linux/route/rtnl.ts";

let count = 0;

/** A network namespace of the test's own, with rtnetlink open in it; both end with the `using` block. */
export class RtnlNamespace implements Disposable {
  readonly name: string;
  readonly ref: NetnsRef;
  readonly rtnl: Rtnl;

  constructor() {
    count += 1;
    this.name = `weft-t-rtnl-${process.pid}-${count}`;
    this.ref = { name: this.name };
    createNetns(this.name);
    this.rtnl = new Rtnl({ netns: this.ref });
  }

  /** Runs a command inside; throws with its errors where it fails. */
  run(...command: string[]): string {
    const { success, stdout, stderr } = Bun.spawnSync(["ip", "netns", "exec", this.name, ...command], {
      stdin: "ignore",
    });
    if (!success) throw new Error(`${command.join(" ")}: ${stderr}`);
    return stdout.toString();
  }

  /** What a command of iproute2 prints with -json. */
  json(command: string): Record<string, unknown>[] {
    const [program = "", ...rest] = command.split(" ");
    const text = this.run(program, "-json", ...rest).trim();
    // Empty lists are shown as nothing, and some as a list with empty objects.
    const list = text === "" ? [] : (JSON.parse(text) as Record<string, unknown>[]);
    return list.filter((one) => Object.keys(one).length > 0);
  }

  [Symbol.dispose](): void {
    this.rtnl.close();
    deleteNetns(this.name);
  }
}
