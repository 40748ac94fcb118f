/** Weft's plugins beside Debian's, those that need VLANs, ipvlan, VRF or a bridge that filters: see test/interop/cni-differential. */
import { join } from "node:path";
import { families } from "../../interop/cni-differential/families.ts";
import { testFamilies } from "../../interop/cni-differential/suite.ts";
import { referencePlugins } from "../../kernel/cni-fixture.ts";
import { needs } from "../../lib/needs.ts";

const reference = needs.file(join(referencePlugins, "bridge"), "containernetworking-plugins");
testFamilies(families.filter(({ guest }) => guest === true), [needs.root, reference]);
