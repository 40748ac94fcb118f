import { describe } from "bun:test";
import { describeWith, needs } from "../lib/needs.ts";
import { addressConformance } from "./addresses.ts";
import { kernelConformance } from "./kernel.ts";
import { type Flavour, fakeKernel, realKernel } from "./lab.ts";
import { linkConformance } from "./links.ts";
import { routeConformance } from "./routes.ts";
import { tableConformance } from "./tables.ts";

function conformance(flavour: Flavour): void {
  linkConformance(flavour);
  addressConformance(flavour);
  routeConformance(flavour);
  tableConformance(flavour);
  kernelConformance(flavour);
}

describe("conformance", () => conformance(fakeKernel));
describeWith(needs.root, needs.kernel("bridge"))("conformance", () => conformance(realKernel));
