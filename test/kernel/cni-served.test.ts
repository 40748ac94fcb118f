/** All that the plugins do as processes of their own, done by their server. */
import { serveAll } from "./cni-fixture.ts";

serveAll();
await import("./cni-bridge.test.ts");
await import("./cni-del.test.ts");
await import("./cni-portmap.test.ts");
await import("./cni-ptp.test.ts");
await import("./cni-tuning.test.ts");
await import("./cni-bandwidth.test.ts");
await import("./cni-macvlan.test.ts");
await import("./cni-firewall.test.ts");
await import("./cni-host-device.test.ts");
await import("./cni-tap.test.ts");
await import("./cni-sbr.test.ts");
await import("../interop/cni-mixed.test.ts");
