import { describeWith, needs } from "../lib/needs.ts";
import { addressConformance } from "./addresses.ts";
import { kernelConformance } from "./kernel.ts";
import { realKernel } from "./lab.ts";
import { linkConformance } from "./links.ts";
import { routeConformance } from "./routes.ts";
import { tableConformance } from "./tables.ts";

const onKernel = describeWith(needs.root, needs.kernel("bridge"));

onKernel("conformance", () => {
  linkConformance(realKernel);
  addressConformance(realKernel);
  routeConformance(realKernel);
  tableConformance(realKernel);
  kernelConformance(realKernel);
});
