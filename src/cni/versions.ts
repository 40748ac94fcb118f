/** The versions of the CNI specification that plugins and runtime speak, rising. */
export const supportedVersions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

/** One of {@link supportedVersions}. */
export type CniVersion = (typeof supportedVersions)[number];

/** The newest version spoken here, in which results are held. */
export const currentVersion: CniVersion = "1.1.0";

/** What a configuration without cniVersion means (as libcni takes it). */
export const defaultVersion: CniVersion = "0.1.0";

/** True for a version of {@link supportedVersions}. */
export function isSupportedVersion(text: string): text is CniVersion {
  return (supportedVersions as readonly string[]).includes(text);
}

/** True for "MAJOR.MINOR.PATCH" in plain numbers. */
export function isVersion(text: string): boolean {
  return /^(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){2}$/.test(text);
}

/** Negative, 0 or positive as `a` is older than, equal to or newer than `b`. Both must be versions. */
export function compareVersions(a: string, b: string): number {
  const left = a.split(".");
  const right = b.split(".");
  for (let i = 0; i < left.length; i++) {
    const difference = Number(left[i]) - Number(right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** True where version `a` is `b` or newer. */
export function isAtLeast(a: string, b: string): boolean {
  return compareVersions(a, b) >= 0;
}

/** What a plugin prints for VERSION. */
export function versionText(): string {
  return JSON.stringify({ cniVersion: currentVersion, supportedVersions });
}
