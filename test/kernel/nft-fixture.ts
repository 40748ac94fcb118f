import { createNetns, deleteNetns } from "../../src/linux/netns.ts";
import { Nftables } from "../../src/linux/nftables/index.ts";

let count = 0;

/** A network namespace of the test's own, with nf_tables open in it; both end with the `using` block. */
export class NftNamespace implements Disposable {
  readonly name: string;
  readonly nft: Nftables;

  constructor() {
    count += 1;
    this.name = `weft-t-nft-${process.pid}-${count}`;
    createNetns(this.name);
    this.nft = new Nftables({ netns: { name: this.name } });
  }

  /** Runs a command inside; throws with its errors where it fails. */
  run(command: readonly string[], input = ""): string {
    const { success, stdout, stderr } = Bun.spawnSync(["ip", "netns", "exec", this.name, ...command], {
      stdin: Buffer.from(input),
    });
    if (!success) throw new Error(`${command.join(" ")}: ${stderr}`);
    return stdout.toString();
  }

  [Symbol.dispose](): void {
    this.nft.close();
    deleteNetns(this.name);
  }
}
