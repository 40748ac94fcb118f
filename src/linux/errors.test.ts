import { expect, test } from "bun:test";
import { errno } from "./errno.ts";
import { isNotPermitted, KernelError } from "./errors.ts";

test("what the kernel refuses for want of a capability says what helps, unless the caller knows better", () => {
  const refused = new KernelError("enter a namespace", "", errno.EPERM);
  expect(refused.message).toBe("cannot enter a namespace (EPERM)");
  expect(refused.remedy).toBe("Run it as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN");
  expect(isNotPermitted(refused)).toBe(true);
  expect(new KernelError("x", "y", errno.EPERM, { remedy: "Do z" }).remedy).toBe("Do z");
  expect(new KernelError("x", "y", errno.EEXIST).remedy).toBeUndefined();
});
