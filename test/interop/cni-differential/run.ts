/** Runs one case on both sides in step and compares after each. */
import type { JsonObject } from "../../../src/cni/fields.ts";
import { ownPlugins, referencePlugins } from "../../kernel/cni-fixture.ts";
import type { ContainerName, Place } from "./case.ts";
import { type Call, type Case, type Change, describe, type End, isCall, isChange, stepsOf } from "./case.ts";
import { type Difference, differences } from "./differences.ts";
import type { Labels } from "./labels.ts";
import { ask, usualProbes } from "./reach.ts";
import { type State, takeSnapshot } from "./snapshot.ts";
import { type Answer, Twin } from "./twin.ts";

/** How long both sides may take to become the same: the kernel does some things behind the caller's back. */
const patience = 6000;

/** What a case has shown. */
export interface Verdict {
  /** Differences that no rule allows. */
  unlisted: Difference[];
  /** The rules that were needed, each with one difference that it allowed. */
  used: Map<string, string>;
}

/** Plays a case. */
export async function runCase(given: Case, plugin: string): Promise<Verdict> {
  const verdict: Verdict = { unlisted: [], used: new Map() };
  const made = await Promise.allSettled([
    Twin.make({ name: "reference", plugins: referencePlugins }, given),
    Twin.make({ name: "weft", plugins: ownPlugins }, given),
  ]);
  const twins = made.filter((each) => each.status === "fulfilled").map(({ value }) => value);
  try {
    for (const each of made) if (each.status === "rejected") throw each.reason;
    const comparison = new Comparison(given, plugin, twins as [Twin, Twin]);
    for (const step of stepsOf(given)) {
      const found = await comparison.step(step);
      for (const difference of found) {
        const rule = differences.find(({ matches }) => matches(difference));
        if (rule === undefined) verdict.unlisted.push(difference);
        else verdict.used.set(rule.name, `${plugin}: ${given.name}: ${explain(difference)}`);
      }
      if (verdict.unlisted.length > 0) break;
    }
    return verdict;
  } finally {
    await Promise.all(twins.map((twin) => twin[Symbol.asyncDispose]()));
  }
}

class Comparison {
  readonly #case: Case;
  readonly #plugin: string;
  readonly #twins: readonly [Twin, Twin];
  /** Attached containers' last results, of the reference. */
  readonly #attached = new Map<Place, JsonObject>();
  /** Weft's side before plugins have done anything. */
  #beginning: State | undefined;
  #added = false;
  /** Something else than the plugins has changed something. */
  #touched = false;

  constructor(given: Case, plugin: string, twins: readonly [Twin, Twin]) {
    this.#case = given;
    this.#plugin = plugin;
    this.#twins = twins;
  }

  async step(step: Call | Change | End): Promise<Difference[]> {
    if (!isCall(step) || step.more !== undefined) this.#touched = true;
    if (isCall(step))
      this.#beginning ??= (await takeSnapshot(this.#twins[1], sysctlsOf(this.#case), false)).state;
    const answers = await Promise.all(this.#twins.map((twin) => this.#play(twin, step)));
    if (isCall(step)) this.#keepAttached(step, answers[0] ?? []);
    // What somebody else changed before the first ADD was there before.
    else if (!this.#added) this.#beginning = undefined;
    const hasFailed = answers.map((each) => each.some(({ status }) => status !== 0));
    this.#added ||= isCall(step) && step.verb === "ADD" && hasFailed.includes(false);
    const failed = !hasFailed.includes(false);
    const deadline = performance.now() + patience;
    for (let pause = 10; ; pause *= 2) {
      const wait = pause === 10 ? 500 : 2000;
      const states = await Promise.all(
        this.#twins.map((twin, i) => this.#look(twin, step, answers[i] ?? [], wait)),
      );
      const [reference, weft] = states as [State, State];
      const found = this.#compare(describe(step), failed, reference, weft);
      const isDone = found.every((difference) => differences.some(({ matches }) => matches(difference)));
      if (isDone || performance.now() > deadline) return found;
      await Bun.sleep(pause);
    }
  }

  async #play(twin: Twin, step: Call | Change | End): Promise<Answer[]> {
    if (isCall(step)) return await twin.call(step);
    if (isChange(step)) await twin.change(step.at, step.run);
    else twin.end(step.end);
    return [];
  }

  #keepAttached({ verb, container = "c1" }: Call, answers: readonly Answer[]): void {
    if (verb === "DEL") this.#attached.delete(container);
    if (verb !== "ADD" || answers.some(({ status }) => status !== 0)) return;
    const last = this.#twins[0].lastResult(container);
    if (last !== undefined) this.#attached.set(container, last);
  }

  async #look(
    twin: Twin,
    step: Call | Change | End,
    answers: readonly Answer[],
    wait: number,
  ): Promise<State> {
    // CHECK changes nothing.
    if (isCall(step) && step.verb === "CHECK") return outcomes(answers, undefined);
    const { state, labels } = await takeSnapshot(
      twin,
      sysctlsOf(this.#case),
      makesRules(this.#case) && this.#attached.size === 0,
    );
    for (const [key, value] of outcomes(answers, labels)) state.set(key, value);
    if (!isCall(step) || step.verb !== "ADD") return state;
    const probes = [...usualProbes(this.#attached, state), ...(this.#case.probes ?? [])];
    for (const [key, value] of await ask(twin, probes, wait)) state.set(key, value);
    return state;
  }

  #compare(step: string, failed: boolean, reference: State, weft: State): Difference[] {
    const keys = [...new Set([...reference.keys(), ...weft.keys()])].sort();
    const restored =
      !this.#added && keys.every((key) => notState.test(key) || weft.get(key) === this.#beginning?.get(key));
    const different = keys.filter((key) => reference.get(key) !== weft.get(key));
    const lonely = different
      .filter((key) => isLink.test(key))
      .map((key) => key.split(" link/") as [string, string]);
    return different
      .filter((key) => !lonely.some(([place, link]) => isPartOf(key, place, link)))
      .map((key) => ({
        plugin: this.#plugin,
        case: this.#case,
        touched: this.#touched,
        failed,
        restored,
        states: { reference, weft },
        step,
        key,
        reference: reference.get(key),
        weft: weft.get(key),
      }));
  }
}

/** Keys that are not of what is on the host; a folder of leases keeps its lock and the
 * last address, and a bridge that was there goes on to refuse router advertisements. */
const notState =
  /^(outcome|reach)\/|^host file\/.*\/(lock|last_reserved_ip\.\d)$|^host sysctl\/ipv6\/conf\/br0\/accept_ra$/;

/** The key that says that there is a link. */
const isLink = /^\S+ link\/[^/]+$/;

/** True for what goes with a link that only one side has. */
function isPartOf(key: string, place: string, link: string): boolean {
  if (!key.startsWith(`${place} `)) return false;
  const parts = [` link/${link}/`, ` address/${link}/`, `/conf/${link}/`, `"dev":"${link}"`];
  return parts.some((part) => key.includes(part));
}

/** The kernel parameters that the case's configuration speaks of. */
function sysctlsOf({ config, ifname = "eth0" }: Case): string[] {
  return [config].flat().flatMap((each) =>
    Object.keys((each as JsonObject).sysctl ?? {}).map((name) =>
      name
        .replace(/^net[./]/, "")
        .replaceAll(".", "/")
        .replaceAll("IFNAME", ifname),
    ),
  );
}

/** True where rule sets are to be looked at. */
function makesRules({ config }: Case): boolean {
  return [config]
    .flat()
    .some(
      (each) =>
        (each as JsonObject).ipMasq === true ||
        ["portmap", "firewall"].includes(String((each as JsonObject).type)),
    );
}

/** Exit status, and the result or the error's code. Texts are each side's own. */
function outcomes(answers: readonly Answer[], labels: Labels | undefined): State {
  const state: State = new Map();
  for (const { type, status, stdout } of answers) {
    const at = `outcome/${type}`;
    state.set(`${at}/status`, String(status));
    if (stdout.trim() === "") continue;
    const json = parse(stdout);
    if (status !== 0) {
      const { code, cniVersion, msg } = json;
      state.set(`${at}/error/code`, String(code));
      state.set(`${at}/error/cniVersion`, String(cniVersion));
      state.set(`${at}/error/msg`, typeof msg === "string" && msg !== "" ? "there" : "missing");
    } else putResult(state, `${at}/result`, named(json, labels));
  }
  return state;
}

function parse(text: string): JsonObject {
  try {
    return JSON.parse(text) as JsonObject;
  } catch {
    return { unreadable: text };
  }
}

interface Interface extends JsonObject {
  name: string;
  mac?: string;
  sandbox?: string;
}

/** The result with what is by chance replaced by what it is. */
function named(result: JsonObject, labels: Labels | undefined): JsonObject {
  if (labels === undefined) return result;
  const interfaces = (result.interfaces as Interface[] | undefined)?.map((each) => {
    const actual = labels.macOf(labels.placeOf(each.sandbox), each.name);
    if (each.mac === undefined || (each.mac === actual && labels.isLiteral(actual))) return each;
    return { ...each, mac: each.mac === actual ? "that of the link" : "not that of the link" };
  });
  return JSON.parse(labels.apply(JSON.stringify({ ...result, interfaces }))) as JsonObject;
}

function putResult(state: State, at: string, value: unknown): void {
  if (typeof value !== "object" || value === null) state.set(at, JSON.stringify(value));
  else if (Object.keys(value).length === 0) state.set(at, Array.isArray(value) ? "[]" : "{}");
  else for (const [key, each] of Object.entries(value)) putResult(state, `${at}/${key}`, each);
}

/** A difference in words. */
export function explain({ step, key, reference, weft }: Difference): string {
  return `after ${step}: ${key}: reference ${reference ?? "nothing"}, weft ${weft ?? "nothing"}`;
}

export type { ContainerName };
