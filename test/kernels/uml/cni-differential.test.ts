/** As test/interop/cni-differential.test.ts: what needs VLANs, ipvlan, VRF or a bridge that filters. */
import { join } from "node:path";
import { families } from "../../interop/cni-differential/families.ts";
import { testFamilies } from "../../interop/cni-differential/suite.ts";
import { referencePlugins } from "../../kernel/cni-fixture.ts";
import { needs } from "../../lib/needs.ts";

const reference = needs.file(join(referencePlugins, "bridge"), "containernetworking-plugins");
testFamilies(families, true, [needs.root, reference]);
