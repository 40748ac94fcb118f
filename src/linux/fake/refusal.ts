import type { ErrnoName } from "../errno.ts";

/** What the fake refuses, before it is known which change it belongs to; becomes a `KernelError`. */
export class Refusal extends Error {
  readonly errnoName: ErrnoName;
  readonly extack: string | undefined;

  constructor(errnoName: ErrnoName, extack?: string) {
    super(errnoName);
    this.errnoName = errnoName;
    this.extack = extack;
  }
}

export function refuse(errnoName: ErrnoName, extack?: string): never {
  throw new Refusal(errnoName, extack);
}
