/** What a kubeconfig says of one cluster and one user. */
export interface KubeconfigParts {
  /** Such as "https://127.0.0.1:6443". */
  server: string;
  /** PEM. */
  caCert: string;
  cluster: string;
  user: string;
  token: string;
  namespace?: string;
}

/** The text of a kubeconfig file: YAML, and JSON at the same time, so that nothing needs to be quoted by rules of YAML. */
export function kubeconfigText(parts: KubeconfigParts): string {
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const { cluster } = parts;
  const context = `${parts.user}@${cluster}`;
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: cluster,
        cluster: { server: parts.server, "certificate-authority-data": base64(parts.caCert) },
      },
    ],
    users: [
      {
        name: parts.user,
        user: { token: parts.token },
      },
    ],
    contexts: [
      {
        name: context,
        context: {
          cluster,
          user: parts.user,
          ...(parts.namespace === undefined ? {} : { namespace: parts.namespace }),
        },
      },
    ],
    "current-context": context,
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}
