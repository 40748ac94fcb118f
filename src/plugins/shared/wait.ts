/**
 * Asks again and again, soon at first, until the answer is true or the time (milliseconds) is over; the last answer.
 * What is true at once costs no wait.
 */
export async function waitFor(patience: number, isTrue: () => boolean): Promise<boolean> {
  if (isTrue()) return true;
  const deadline = performance.now() + patience;
  for (let pause = 1; performance.now() < deadline; pause = Math.min(pause * 2, 50)) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    if (isTrue()) return true;
  }
  return false;
}
