/**
 * Follows the routes of a namespace while they change, and lists them anew should events be lost.
 *
 * Run as root: node_modules/.bin/bun examples/linux/watch-routes.ts
 */
import { createNetns, deleteNetns, isExists, openKernel, type Route } from "weft/linux";

const netns = { name: `weft-example-${process.pid}` };

const words = (route: Route) =>
  [route.type, route.dst, route.gateway && `via ${route.gateway}`, `protocol ${route.protocol}`]
    .filter(Boolean)
    .join(" ");

createNetns(netns.name);
try {
  using rtnl = openKernel(netns).rtnl;
  rtnl.links.set("lo", { up: true });

  // The monitor first, then the list: nothing falls between.
  const monitor = rtnl.monitor("routes");
  console.log(`${rtnl.routes.list({ protocol: "weft" }).length} routes of ours`);

  rtnl.addresses.add({ link: "lo", address: "198.51.100.1/24" });
  const errors = rtnl.batch([
    { addRoute: { dst: "203.0.113.0/25", gateway: "198.51.100.2", protocol: "weft" } },
    { addRoute: { dst: "203.0.113.128/25", type: "blackhole", protocol: "weft" } },
    { addRoute: { dst: "203.0.113.128/25", type: "blackhole", protocol: "weft" } },
    { deleteRoute: { dst: "203.0.113.0/25", protocol: "weft" } },
  ]);
  for (const [place, error] of errors)
    console.log(`change ${place}: ${isExists(error) ? "is there already" : error}`);

  for await (const event of monitor) {
    if (event.object === "overrun") console.log("events were lost: list again");
    if (event.object !== "route" || event.route.protocol !== "weft") continue;
    console.log(`${event.action} ${words(event.route)}`);
    if (event.action === "delete") break;
  }
} finally {
  deleteNetns(netns.name);
}
