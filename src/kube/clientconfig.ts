import type { Credentials } from "./credentials.ts";

/** All that is needed to speak with one API server as one user. */
export interface ClientConfig {
  /** "https://host:port", with a path where the API server stands behind one. */
  server: string;
  /** The namespace that the context names. */
  namespace: string;
  /** PEM; the system's certificate authorities where not given. */
  ca?: string;
  /** Do not check the server's certificate. */
  insecure?: boolean;
  /** The name to expect in the server's certificate in place of the address's. */
  serverName?: string;
  /** An HTTP proxy's URL. */
  proxy?: string;
  /** Sent with each request, such as Impersonate-User. */
  headers?: Record<string, string>;
  credentials?: Credentials;
}
