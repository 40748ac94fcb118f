import { expect, test } from "bun:test";
import { unchangedCode } from "./memory.ts";

const mapping = (range: string, flags: string, path: string, rss: number, anonymous: number) =>
  `${range} ${flags} 01a3e000 fd:00 1234                       ${path}
Size:              79912 kB
KernelPageSize:        4 kB
Rss:               ${String(rss).padStart(5)} kB
Pss:                 100 kB
Anonymous:         ${String(anonymous).padStart(5)} kB
VmFlags: rd ex mr mw me dw sd
`;

test("unchangedCode finds the read-only mappings of one file, the changed ones left out", () => {
  const weft = "/opt/weft/weft";
  const smaps = [
    mapping("00200000-01a3e000", "r--p", weft, 6180, 0),
    mapping("01a40000-06849000", "r-xp", weft, 36072, 0),
    mapping("06900000-06a00000", "r-xp", weft, 40, 4),
    mapping("06a00000-06b00000", "rw-p", weft, 40, 0),
    mapping("7f0000000000-7f0000001000", "r-xp", `${weft}-cni`, 8, 0),
    mapping("7f0000002000-7f0000003000", "r-xp", `/usr${weft}`, 8, 0),
    mapping("7ffff0000000-7ffff8000000", "r-xp", weft, 12, 0),
  ].join("");
  expect(unchangedCode(smaps, weft)).toEqual([
    { start: 0x00200000n, end: 0x01a3e000n, resident: 6180 * 1024 },
    { start: 0x01a40000n, end: 0x06849000n, resident: 36072 * 1024 },
    { start: 0x7ffff0000000n, end: 0x7ffff8000000n, resident: 12 * 1024 },
  ]);
  expect(unchangedCode("", weft)).toEqual([]);
});
