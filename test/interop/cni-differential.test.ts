/** Weft's plugins beside Debian's containernetworking-plugins, on twin hosts: see cni-differential/. */
import { join } from "node:path";
import { referencePlugins } from "../kernel/cni-fixture.ts";
import { needs } from "../lib/needs.ts";
import { families } from "./cni-differential/families.ts";
import { testFamilies } from "./cni-differential/suite.ts";

const reference = needs.file(join(referencePlugins, "bridge"), "containernetworking-plugins");
testFamilies(
  families.filter(({ guest }) => guest !== true),
  [needs.root, reference],
);
