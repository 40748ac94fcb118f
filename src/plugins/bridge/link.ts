import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { quote } from "../../lib/errors.ts";
import type { LeanLink, LeanRtnl } from "../../linux/lean/rtnl.ts";
import { refuseRouterAdvertisements } from "../shared/interface.ts";
import { type BridgeConfig, usesVlans } from "./config.ts";

/** A bridge, and whether it was made just now. */
export interface FoundBridge {
  link: LeanLink;
  created: boolean;
}

/** The bridge, made and adjusted where need be. Throws where something else has its name. */
export async function ensureBridge(rtnl: LeanRtnl, config: BridgeConfig): Promise<FoundBridge> {
  const name = config.bridge;
  const found = rtnl.find(name);
  if (found?.kind === "bridge" && found.up && !usesVlans(config)) {
    refuseRouterAdvertisements(name, found);
    return { link: found, created: false };
  }
  if (found !== undefined && found.kind !== "bridge") {
    throw new CniError(cniErrorCode.internal, `${quote(name)} already exists but is not a bridge`, {
      remedy: "Choose another name for the bridge",
    });
  }
  const { prepareBridge } = await import("./setup.ts");
  const created = prepareBridge(config, found);
  return { link: rtnl.get(name), created };
}
