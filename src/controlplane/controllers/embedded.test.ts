import { createKubeClient } from "../../kube/client.ts";
import { conformance } from "../../kube/conformance.ts";
import { startApiServer } from "../server.ts";

conformance("The embedded server in the same process", async () => {
  const server = await startApiServer();
  const client = createKubeClient(
    { server: server.url, namespace: "default" },
    { fetch: (url, init) => server.handle(new Request(url, init)) },
  );
  return {
    client,
    namespace: "default",
    close: () => {
      client.close();
      server.close();
    },
  };
});

conformance("The embedded server over HTTPS", async () => {
  const server = await startApiServer({ listen: { port: 0 } });
  const client = createKubeClient({
    server: server.url,
    namespace: "default",
    ca: server.caCert,
    credentials: { current: async () => ({ authorization: `Bearer ${server.token("test")}` }) },
  });
  return {
    client,
    namespace: "default",
    close: () => {
      client.close();
      server.close();
    },
  };
});
