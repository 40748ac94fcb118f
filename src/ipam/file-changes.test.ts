import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ip } from "../lib/ip.ts";
import { FileLeaseStore } from "./file.ts";

const folder = mkdtempSync(join(tmpdir(), "weft-leases-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("leases that another program makes right behind one of this process are found", async () => {
  const store = new FileLeaseStore("net", folder);
  for (let i = 1; i < 11; i++) {
    const mine = { containerId: `mine${i}`, ifname: "eth0" };
    const theirs = { containerId: `theirs${i}`, ifname: "eth0" };
    await store.transaction(() => {
      expect(store.find(mine)).toEqual([]);
      store.reserve(Ip.parse(`10.0.0.${i}`), mine, 0);
    });
    // Within the same tick of the kernel's clock.
    writeFileSync(join(store.dir, `10.0.1.${i}`), `${theirs.containerId}\r\neth0`);
    await store.transaction(() => expect(store.find(theirs).map(String)).toEqual([`10.0.1.${i}`]));
  }
});
