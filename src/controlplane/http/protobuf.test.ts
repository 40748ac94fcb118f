import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { StatusError } from "../status.ts";
import { seeded, startTestServer, type TestServer } from "../testing.ts";
import { decodeProtobuf, PROTOBUF_TYPE } from "./protobuf.ts";

/** What Go would write, by hand: [number, value] pairs, where a number is a varint, a list a message. */
type Message = [number: number, value: string | number | Uint8Array | Message][];

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return [...bytes, Number(rest)];
}

function encode(message: Message): Uint8Array {
  const out: number[] = [];
  for (const [number, value] of message) {
    if (typeof value === "number") out.push(...varint(number * 8), ...varint(value));
    else {
      const bytes =
        typeof value === "string"
          ? new TextEncoder().encode(value)
          : value instanceof Uint8Array
            ? value
            : encode(value);
      out.push(...varint(number * 8 + 2), ...varint(bytes.length), ...bytes);
    }
  }
  return Uint8Array.from(out);
}

const envelope = (apiVersion: string, kind: string, message: Message) =>
  Uint8Array.from([
    0x6b,
    0x38,
    0x73,
    0,
    ...encode([
      [
        1,
        [
          [1, apiVersion],
          [2, kind],
        ],
      ],
      [2, message],
      [3, ""],
      [4, ""],
    ]),
  ]);

const container: Message = [
  [1, "echo"],
  [2, "weft/echo"],
  [5, ""],
  [
    6,
    [
      [1, "http"],
      [2, 0],
      [3, 8080],
      [4, "TCP"],
      [5, ""],
    ],
  ],
  [
    8,
    [
      [
        1,
        [
          [1, "cpu"],
          [2, [[1, "100m"]]],
        ],
      ],
    ],
  ],
  [
    11,
    [
      [
        1,
        [
          [
            2,
            [
              [1, "/"],
              [
                2,
                [
                  [1, 1],
                  [2, 0],
                  [3, "http"],
                ],
              ],
              [3, ""],
              [4, "HTTP"],
            ],
          ],
        ],
      ],
      [2, 0],
      [4, 10],
    ],
  ],
  [16, 0],
];
const deployment: Message = [
  [
    1,
    [
      [1, "web"],
      [3, "default"],
      [7, 0],
      [8, []],
      [
        11,
        [
          [1, "app"],
          [2, "web"],
        ],
      ],
    ],
  ],
  [
    2,
    [
      [1, 0],
      [
        2,
        [
          [
            1,
            [
              [1, "app"],
              [2, "web"],
            ],
          ],
        ],
      ],
      [
        3,
        [
          [
            1,
            [
              [
                11,
                [
                  [1, "app"],
                  [2, "web"],
                ],
              ],
            ],
          ],
          [
            2,
            [
              [2, container],
              [4, 0],
            ],
          ],
        ],
      ],
      [
        4,
        [
          [1, ""],
          [
            2,
            [
              [
                1,
                [
                  [1, 1],
                  [2, 0],
                  [3, "25%"],
                ],
              ],
            ],
          ],
        ],
      ],
      [5, 0],
    ],
  ],
  [3, []],
];

describe("Kubernetes protobuf", () => {
  test("becomes the same object as its JSON, zeros that mean absence left out", () => {
    expect(decodeProtobuf(envelope("apps/v1", "Deployment", deployment))).toEqual({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "web", namespace: "default", labels: { app: "web" } },
      spec: {
        // A pointer in Go: its zero is a wish.
        replicas: 0,
        selector: { matchLabels: { app: "web" } },
        template: {
          metadata: { labels: { app: "web" } },
          spec: {
            containers: [
              {
                name: "echo",
                image: "weft/echo",
                ports: [{ name: "http", containerPort: 8080, protocol: "TCP" }],
                resources: { limits: { cpu: "100m" } },
                // The handler stands in line in JSON.
                readinessProbe: { httpGet: { path: "/", port: "http", scheme: "HTTP" }, periodSeconds: 10 },
              },
            ],
            terminationGracePeriodSeconds: 0,
          },
        },
        strategy: { rollingUpdate: { maxUnavailable: "25%" } },
      },
      status: {},
    });
  });

  test("bytes, times and negative numbers", () => {
    const secret = decodeProtobuf(
      envelope("v1", "Secret", [
        [
          2,
          [
            [1, "k"],
            [2, Uint8Array.of(0, 255)],
          ],
        ],
      ]),
    );
    expect(secret.data).toEqual({ k: "AP8=" });
    const lease = decodeProtobuf(
      envelope("coordination.k8s.io/v1", "Lease", [
        [
          2,
          [
            [2, 0],
            [
              3,
              [
                [1, 1767323045],
                [2, 123456000],
              ],
            ],
            [5, -1],
          ],
        ],
      ]),
    );
    expect(lease.spec).toEqual({
      leaseDurationSeconds: 0,
      acquireTime: "2026-01-02T03:04:05.123456Z",
      leaseTransitions: -1,
    });
    expect(
      decodeProtobuf(
        envelope("policy/v1", "DeleteOptions", [
          [1, 0],
          [5, "All"],
        ]),
      ),
    ).toMatchObject({ gracePeriodSeconds: 0, dryRun: ["All"] });
  });

  describe("over the API", () => {
    let api: TestServer;
    beforeAll(async () => {
      api = await startTestServer();
    });
    afterAll(() => api.close());
    const send = (method: string, path: string, body: Uint8Array) =>
      api.server.handle(
        new Request(`http://test${path}`, {
          method,
          body: body as Uint8Array<ArrayBuffer>,
          headers: { "content-type": PROTOBUF_TYPE },
        }),
      );

    test("creates, and deletes by options", async () => {
      const path = "/apis/apps/v1/namespaces/default/deployments";
      const made = await send("POST", path, envelope("apps/v1", "Deployment", deployment));
      expect([made.status, await made.json()]).toMatchObject([
        201,
        { spec: { replicas: 0, progressDeadlineSeconds: 600 } },
      ]);
      const uid: Message = [[2, [[1, "someone else"]]]];
      const refused = await send("DELETE", `${path}/web`, envelope("v1", "DeleteOptions", uid));
      expect(refused.status).toBe(409);
    });

    test("a kind that is not built in is asked for as JSON", async () => {
      const answer = await send("POST", "/api/v1/namespaces", envelope("weft.test/v1", "Widget", []));
      expect([answer.status, await answer.json()]).toMatchObject([
        400,
        { message: expect.stringContaining("send it as JSON") },
      ]);
    });
  });

  test("any change to the bytes ends in an object or a Status (fuzz, seed 29)", () => {
    const random = seeded(29);
    const whole = envelope("apps/v1", "Deployment", deployment);
    let decoded = 0;
    for (let i = 0; i < 20_000; i++) {
      const bytes = whole.slice(0, random(10) === 0 ? random(whole.length) : whole.length);
      for (let flips = random(4); flips >= 0; flips--) bytes[random(bytes.length || 1)] = random(256);
      try {
        decodeProtobuf(bytes);
        decoded++;
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
        expect(error.status.code).toBe(400);
      }
    }
    expect(decoded).toBeGreaterThan(1000);
  });
});
