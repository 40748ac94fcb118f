// Writes docs/cni/pictures/NAME.svg of what scripts/pictures/plugins.mjs describes.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./lib/files.mjs";
import { draw } from "./pictures/draw.mjs";
import { pictures } from "./pictures/plugins.mjs";

const folder = join(root, "docs/cni/pictures");
mkdirSync(folder, { recursive: true });
for (const name of readdirSync(folder)) rmSync(join(folder, name));
for (const picture of pictures) writeFileSync(join(folder, `${picture.name}.svg`), draw(picture));
console.log(`${pictures.length} pictures in ${folder}`);
