/**
 * Gives each endpoint a place from 0 to their number - 1. Who has a place in that range already keeps it, so that a change
 * of one endpoint writes at most two places.
 */
export function assignSlots(before: readonly (string | undefined)[], wanted: readonly string[]): string[] {
  const slots = before.slice(0, wanted.length);
  const newcomers = new Set(wanted);
  const free: number[] = [];
  for (let i = 0; i < wanted.length; i++) {
    const holder = slots[i];
    if (holder === undefined || !newcomers.delete(holder)) free.push(i);
  }
  let next = 0;
  for (const endpoint of newcomers) slots[free[next++] as number] = endpoint;
  return slots as string[];
}
