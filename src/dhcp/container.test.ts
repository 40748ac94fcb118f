import { expect, test } from "bun:test";
import { KernelError } from "../linux/errors.ts";
import { LinkGone } from "./client.ts";
import { withNetns } from "./container.ts";

test.each(["/run/netns/weft-none", "/etc/hostname/net", `/${"x".repeat(300)}`])(
  "a namespace is gone where %s leads nowhere",
  (path) => {
    expect(() => withNetns(path, () => {})).toThrow(LinkGone);
  },
);

test("that a process has no descriptor left says nothing of the namespace", () => {
  const script = `
    import { openSync } from "node:fs";
    import { withNetns } from "${import.meta.dir}/container.ts";
    let said;
    withNetns("/proc/self/ns/net", () => {});
    try {
      for (;;) openSync("/dev/null");
    } catch {
      try {
        withNetns("/proc/self/ns/net", () => {});
      } catch (error) {
        said = [error.constructor.name, error.errnoName];
      }
    }
    console.log(JSON.stringify(said));`;
  const { stdout } = Bun.spawnSync([
    "sh",
    "-c",
    'ulimit -n 100 && exec "$0" -e "$1"',
    process.execPath,
    script,
  ]);
  expect(JSON.parse(String(stdout))).toEqual([KernelError.name, "EMFILE"]);
});
