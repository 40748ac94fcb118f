/**
 * nf_tables of an older kernel than most machines': one that cannot destroy what may not be there, and has not yet what
 * came since. The same cases as for the machine's own kernel, which take their time where computing is emulated.
 */
import { setDefaultTimeout } from "bun:test";

setDefaultTimeout(300_000);
await import("../../conformance/nftables.test.ts");
await import("../../kernel/nft-packets.test.ts");
