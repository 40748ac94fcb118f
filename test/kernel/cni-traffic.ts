/** Bulk traffic between namespaces, to see how fast it goes. */
import type { Namespace } from "./services-fixture.ts";

/** A side of a connection. */
export interface Side {
  namespace: Namespace;
  address: string;
}

/** Milliseconds until `bytes` bytes have come from one side to the other by TCP. */
export async function transfer(from: Side, to: Side, bytes: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let start = 0;
  let received = 0;
  const server = to.namespace.in(() =>
    Bun.listen({
      hostname: to.address,
      port: 0,
      socket: {
        data: (_, data) => {
          received += data.length;
          if (received >= bytes) resolve(performance.now() - start);
        },
        error: (_, error) => reject(error),
      },
    }),
  );
  const rest = { bytes: new Uint8Array(bytes) };
  const write = (socket: { write(data: Uint8Array): number }) => {
    rest.bytes = rest.bytes.subarray(Math.max(0, socket.write(rest.bytes)));
  };
  const { connecting } = from.namespace.in(() => ({
    connecting: Bun.connect({
      hostname: to.address,
      port: server.port,
      socket: {
        open: (socket) => {
          start = performance.now();
          write(socket);
        },
        drain: (socket) => {
          if (rest.bytes.length > 0) write(socket);
        },
        data: () => {},
        close: () => reject(new Error(`closed after ${received} of ${bytes} bytes`)),
        connectError: (_, error) => reject(error),
      },
    }),
  }));
  // Told by connectError.
  connecting.catch(() => {});
  try {
    return await promise;
  } finally {
    (await connecting.catch(() => undefined))?.terminate();
    server.stop(true);
  }
}
