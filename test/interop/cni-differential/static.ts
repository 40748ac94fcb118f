import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Case, Family } from "./case.ts";
import { refused } from "./common.ts";

const of = (ipam: JsonObject, more: JsonObject = {}): JsonObject => ({
  type: "static",
  ipam: { type: "static", ...ipam },
  ...more,
});
const addresses = [{ address: "10.77.0.9/24", gateway: "10.77.0.1" }, { address: "fd77::9/64" }];
const routes = [
  { dst: "0.0.0.0/0" },
  { dst: "10.9.0.0/16", gw: "10.77.0.1" },
  { dst: "::/0", gw: "fd77::1" },
];

const cases: Case[] = [
  {
    name: "addresses, routes and dns",
    config: of({
      addresses,
      routes,
      dns: { nameservers: ["192.0.2.53"], domain: "d.example", search: ["s"], options: ["ndots:2"] },
    }),
  },
  { name: "no address", config: of({}) },
  {
    name: "by CNI_ARGS",
    config: of({ routes: [] }),
    args: "IP=10.77.0.8/24,fd77::8/64;GATEWAY=10.77.0.1,fd77::1",
  },
  { name: "CNI_ARGS beside addresses", config: of({ addresses, routes }), args: "IP=10.78.0.8/24" },
  { name: "by args", config: of({ routes }, { args: { cni: { ips: ["10.77.0.7/24"] } } }) },
  {
    name: "by the ips capability",
    config: of({ addresses, routes }, { runtimeConfig: { ips: ["10.77.0.6/24", "fd77::6/64"] } }),
  },
  {
    name: "an address without length",
    config: of({ addresses: [{ address: "10.77.0.9" }] }),
    steps: refused,
  },
  { name: "an address that is none", config: of({ addresses: [{ address: "blue" }] }), steps: refused },
  {
    name: "a gateway that is none",
    config: of({ addresses: [{ address: "10.77.0.9/24", gateway: "blue" }] }),
    steps: refused,
  },
  { name: "a wrong address by CNI_ARGS", config: of({}), args: "IP=10.77.0.8", steps: refused },
  { name: "version 0.4.0", cniVersion: "0.4.0", config: of({ addresses, routes }) },
  {
    name: "version 0.2.0 with two addresses of a family",
    cniVersion: "0.2.0",
    config: of({ addresses: [{ address: "10.77.0.9/24" }, { address: "10.78.0.9/24" }] }),
    steps: refused,
  },
  {
    name: "under bridge",
    config: {
      type: "bridge",
      bridge: "br0",
      isGateway: true,
      ipam: {
        type: "static",
        addresses: [addresses[0], { address: "fd77::9/64", gateway: "fd77::1" }],
        routes,
      },
    },
  },
  {
    name: "another configuration at CHECK",
    config: of({ addresses }),
    steps: [
      "ADD",
      { verb: "CHECK", more: { ipam: { type: "static", addresses: [{ address: "10.79.0.9/24" }] } } },
    ],
  },
];

export const staticFamily: Family = { plugin: "static", needs: ["bridge"], cases };
