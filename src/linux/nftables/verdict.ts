/** Where a packet goes: an end verdict, or another chain. */
export interface Verdict {
  readonly verdict: "accept" | "drop" | "continue" | "break" | "return" | "jump" | "goto";
  /** The target of jump and goto. */
  readonly chain?: string;
}
