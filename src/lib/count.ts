/** A number with its noun: "1 node", "3 nodes", "0 nodes". */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}
