import { InvalidInput } from "../lib/errors.ts";

/** Where the server takes connections: an address and port, or a unix socket. */
export type Listen = {
  /** Runs the opening of the socket somewhere else, such as inside of another network namespace. Must not await. */
  within?: <T>(open: () => T) => T;
} & (
  | {
      /** An address of this machine; 127.0.0.1 where not given. */
      host?: string;
      /** 0 takes a free one. */
      port: number;
    }
  | {
      /** Path of a unix socket. */
      unix: string;
    }
);

/** A socket that is open. */
export interface Listener {
  /** Such as "https://127.0.0.1:6443"; "https+unix://PATH" for a unix socket. */
  readonly url: string;
  readonly host: string;
  /** 0 for a unix socket. */
  readonly port: number;
  close(): void;
}

export interface Tls {
  /** PEM. */
  readonly key: string;
  readonly certificate: string;
}

type Answer = (request: Request) => Promise<Response>;

/** Idle connections are kept for this long; watches have no limit. */
const IDLE_SECONDS = 255;

/**
 * Opens a TLS listener. `isWatch` tells the requests whose answers have no end. Throws `InvalidInput` that names the field
 * where it cannot: the port is in use, the address is not this machine's.
 */
export function openListener(
  listen: Listen,
  field: string,
  tls: Tls,
  answer: Answer,
  isWatch: (request: Request) => boolean,
): Listener {
  const within = listen.within ?? (<T>(open: () => T) => open());
  const fetch = (request: Request, server: Bun.Server<undefined>) => {
    if (isWatch(request)) server.timeout(request, 0);
    return answer(request);
  };
  const common = {
    tls: { key: tls.key, cert: tls.certificate },
    fetch,
    development: false,
    // A handler never throws; this is what clients see should it do so all the same.
    error: () => new Response("Internal Server Error", { status: 500 }),
  };
  try {
    if ("unix" in listen) {
      const server = within(() => Bun.serve({ ...common, unix: listen.unix }));
      return {
        url: `https+unix://${listen.unix}`,
        host: listen.unix,
        port: 0,
        close: () => void server.stop(true),
      };
    }
    const host = listen.host ?? "127.0.0.1";
    const { port: wanted } = listen;
    const server = within(() =>
      Bun.serve({ ...common, hostname: host, port: wanted, idleTimeout: IDLE_SECONDS }),
    );
    const port = server.port ?? wanted;
    const shown = host.includes(":") ? `[${host}]` : host;
    return { url: `https://${shown}:${port}`, host, port, close: () => void server.stop(true) };
  } catch (error) {
    throw refused(listen, field, error);
  }
}

function refused(listen: Listen, field: string, error: unknown): InvalidInput {
  const { code, message } = error as { code?: string; message?: string };
  const [name, value] = "unix" in listen ? [`${field}.unix`, listen.unix] : [`${field}.port`, listen.port];
  if (code === "EADDRINUSE") {
    return new InvalidInput(name, value, "is in use", {
      remedy: "Stop the program that listens there, or choose another port (0 takes a free one)",
      cause: error,
    });
  }
  if (code === "EADDRNOTAVAIL" && !("unix" in listen)) {
    return new InvalidInput(`${field}.host`, listen.host, "is not an address of this machine", {
      remedy: "Give an address that an interface has, or 0.0.0.0 or :: for all of them",
      cause: error,
    });
  }
  return new InvalidInput(name, value, `cannot be listened on: ${message ?? String(error)}`, {
    cause: error,
  });
}
