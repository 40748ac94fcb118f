/**
 * A fake kernel for unit tests, with the same interface as the real one.
 * @module
 */
export { FakeConntrack, type FlowSeed } from "./conntrack.ts";
export { type FakeKernel, FakeMachine, type FakeMachineOptions } from "./machine.ts";
export { FakeNftables } from "./nftables.ts";
