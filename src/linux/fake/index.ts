/**
 * A fake kernel for unit tests, with the same interface as the real one.
 * @module
 */
export { type FakeKernel, FakeMachine, type FakeMachineOptions } from "./machine.ts";
