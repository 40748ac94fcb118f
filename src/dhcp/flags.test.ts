import { describe, expect, test } from "bun:test";
import { InvalidInput } from "../lib/errors.ts";
import { defaultFlags, optionsOf, parseGoFlags } from "./flags.ts";

describe("The flags of the reference's daemon", () => {
  const good: [string, object][] = [
    ["", {}],
    ["-broadcast", { broadcast: true }],
    ["-broadcast=true -timeout 3s", { broadcast: true, timeout: "3s" }],
    ["--broadcast=F", { broadcast: false }],
    ["-hostprefix /host -pidfile=/run/dhcp.pid", { hostprefix: "/host", pidfile: "/run/dhcp.pid" }],
    [
      "-socketpath /run/x.sock --resendmax=5s -resendtimeout 1m",
      { socketpath: "/run/x.sock", resendmax: "5s", resendtimeout: "1m" },
    ],
  ];
  test.each(good)("%p", (text, flags) => {
    expect(parseGoFlags(text.split(" ").filter((word) => word !== ""))).toEqual({
      ...defaultFlags,
      ...flags,
    });
  });

  const bad = ["-verbose", "stray", "-timeout", "-broadcast=perhaps"];
  test.each(bad)("%p is refused", (text) => {
    expect(() => parseGoFlags(text.split(" "))).toThrow(InvalidInput);
  });

  test("make options, with times in milliseconds", () => {
    expect(optionsOf(defaultFlags)).toMatchObject({
      timeout: 10_000,
      resendMax: 62_000,
      resendTimeout: 208_000,
    });
    expect(optionsOf({ ...defaultFlags, socketpath: "" }).socketPath).toBe(defaultFlags.socketpath);
    for (const wrong of [{ socketpath: "x" }, { pidfile: "x" }, { timeout: "0" }, { resendmax: "1" }]) {
      expect(() => optionsOf({ ...defaultFlags, ...wrong })).toThrow(InvalidInput);
    }
  });
});
