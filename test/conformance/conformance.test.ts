import { describeWith, needs } from "../lib/needs.ts";
import { addressConformance } from "./addresses.ts";
import { realKernel } from "./lab.ts";
import { linkConformance } from "./links.ts";
import { routeConformance } from "./routes.ts";

const onKernel = describeWith(needs.root, needs.kernel("bridge"));

onKernel("conformance", () => {
  linkConformance(realKernel);
  addressConformance(realKernel);
  routeConformance(realKernel);
});
