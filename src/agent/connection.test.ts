import { beforeEach, describe, expect, test } from "bun:test";
import { ApiError, ApiUnreachable } from "../kube/errors.ts";
import { createLog } from "../lib/log.ts";
import { ApiConnection } from "./connection.ts";

const server = "https://10.0.0.1:6443";
let logged: string[];
let connection: ApiConnection;

beforeEach(() => {
  logged = [];
  const log = createLog({ format: "json", write: (line) => logged.push(JSON.parse(line).message) });
  connection = new ApiConnection(server, log, () => Date.parse("2030-01-01T00:00:00Z"));
});

const away = (operation: string, problem = "refuses the connection", code = "ECONNREFUSED") =>
  new ApiUnreachable(server, operation, problem, { cause: { code } });
const lostLine = "The API server is not heard; what was last known stays in force";
const heardLine = "The API server is heard again";

describe("ApiConnection", () => {
  test("waits, hears, and says nothing of it", () => {
    expect([connection.connected, connection.message]).toEqual([false, `waiting for ${server}`]);
    connection.heard("nodes");
    expect([connection.connected, connection.message]).toEqual([true, server]);
    expect(logged).toEqual([]);
  });

  test("tells an outage once for all kinds of objects, and its end when all are heard", () => {
    for (const resource of ["nodes", "services"]) connection.heard(resource);
    connection.interrupted("nodes", away("watch nodes", "closed the connection", "ECONNRESET"));
    for (const resource of ["services", "nodes", "services"]) {
      connection.interrupted(resource, away(`watch ${resource}`));
    }
    expect(logged).toEqual([lostLine]);
    expect(connection.connected).toBe(false);
    expect(connection.message).toBe(
      `not heard since 2030-01-01T00:00:00.000Z: watch services: the API server "${server}" refuses the connection. Check that the server runs, and the address and certificates in the kubeconfig`,
    );
    connection.heard("nodes");
    expect(connection.connected).toBe(false);
    connection.heard("services");
    expect(connection.connected).toBe(true);
    expect(logged).toEqual([lostLine, heardLine]);
  });

  test("tells a reason of another kind", () => {
    connection.interrupted("nodes", away("list nodes"));
    connection.interrupted("nodes", away("list nodes", "shows another's", "SELF_SIGNED_CERT_IN_CHAIN"));
    const refused = new ApiError({ code: 401, message: "Unauthorized" }, "list nodes", {
      remedy: "Check the token",
    });
    connection.interrupted("nodes", refused);
    connection.interrupted("nodes", refused);
    expect(logged).toEqual([lostLine, lostLine, lostLine]);
    expect(connection.message).toContain(
      `the API server "${server}" says: list nodes: Unauthorized (401). Check the token`,
    );
  });
});
