/**
 * Runs `action` with a list of what it opens, all of which is closed at the very end. For sockets of nftables: closing
 * one waits until the kernel has really done away with what was deleted (an RCU grace period, 5 to 15 ms), which it does
 * meanwhile if something else is going on.
 */
export async function closingLate<T>(action: (open: Disposable[]) => T | Promise<T>): Promise<T> {
  const open: Disposable[] = [];
  try {
    return await action(open);
  } finally {
    for (const each of open) each[Symbol.dispose]();
  }
}
