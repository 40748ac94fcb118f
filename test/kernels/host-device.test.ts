/** The host-device plugin with hardware, as far as an emulated machine has any: a guest runs nic/host-device.ts. */
import { expect } from "bun:test";
import { join } from "node:path";
import { needs, testWith } from "../lib/needs.ts";

/** The first run of vm-run fetches its kernel. */
const slow = 300_000;

testWith(needs.root, needs.vm)(
  "host-device moves PCI cards and gets them back",
  async () => {
    const cases = join(import.meta.dir, "nic/host-device.ts");
    const command = [
      "-t",
      "240",
      "--nic",
      "pci",
      "--",
      process.execPath,
      "test",
      "--timeout",
      "120000",
      cases,
    ];
    const child = Bun.spawn([join(import.meta.dir, "vm-run"), ...command], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect(`${stdout}${stderr}`).toMatch(/\b[1-9]\d* pass\n\s*0 fail\n/);
    expect(await child.exited).toBe(0);
  },
  slow,
);
