/** The whole-process side of the bench `rtnl`: does what `ip -batch` does, from a JSON file with the routes. */
import { readFileSync } from "node:fs";
import type { NewRoute } from "../../src/linux/route/route.ts";
import { Rtnl } from "../../src/linux/route/rtnl.ts";

const routes: NewRoute[] = JSON.parse(readFileSync(process.argv[2] ?? "/dev/stdin", "utf8"));
using rtnl = new Rtnl();
for (const error of rtnl.batch(routes.map((addRoute) => ({ addRoute }))).values()) throw error;
