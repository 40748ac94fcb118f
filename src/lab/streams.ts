import { explain, WeftError } from "../lib/errors.ts";

const pulseEvery = 2_000;

/** A response that sends each event as a line of JSON as it comes. */
export function eventStream(produce: (emit: (event: object) => void) => Promise<void>): Response {
  const encoder = new TextEncoder();
  let open = true;
  const stream = new ReadableStream<Uint8Array>({
    async start(controller) {
      const emit = (event: object) => {
        if (open) controller.enqueue(encoder.encode(`${JSON.stringify(event)}\n`));
      };
      // An empty line now and then: a silent connection would be taken for a dead one.
      const pulse = setInterval(() => {
        if (open) controller.enqueue(encoder.encode("\n"));
      }, pulseEvery);
      try {
        await produce(emit);
      } catch (error) {
        emit({ kind: "verdict", ok: false, passed: 0, failed: 1, message: explain(error) });
      }
      clearInterval(pulse);
      if (open) controller.close();
      open = false;
    },
    cancel() {
      open = false;
    },
  });
  return new Response(stream, { headers: { "content-type": "application/x-ndjson" } });
}

/** The objects of such a response. */
export async function* readEvents<T>(response: Response): AsyncGenerator<T> {
  if (response.body === null) return;
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of whole(response.body as unknown as AsyncIterable<Uint8Array>)) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") yield JSON.parse(line) as T;
  }
}

/** A connection that breaks off means that the lab is gone. */
async function* whole(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks;
  } catch (error) {
    throw new WeftError("lab-gone", "the lab ended before it had said all", {
      remedy: "Start it again: weft lab up",
      cause: error,
    });
  }
}
