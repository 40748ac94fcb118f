import { conformance } from "../conformance.ts";
import { FakeKube } from "./index.ts";

conformance("The fake", () => {
  const client = new FakeKube();
  return { client, namespace: "default", compact: () => client.store.compact(), close: () => client.close() };
});
