import { CniError, cniErrorCode, hasCniCode } from "../../cni/errors.ts";
import { execPlugin, requirePlugin, rubbishError } from "../../cni/exec.ts";
import { parseJsonObject } from "../../cni/netconf.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { parseResult, type Result } from "../../cni/result.ts";
import { KernelError } from "../../linux/errors.ts";
import { writeExisting } from "../../linux/lean/files.ts";
import { withUndo } from "../shared/undo.ts";
import { servedVariable } from "../turns.ts";

/*
 * SELinux labels a tap link with the context of the process that makes it, and a process of several threads cannot change
 * its own: so another process of the same plugin, started with that context, does the work.
 */

/** Tells that process that it is the one. */
const labelledVariable = "WEFT_TAP_LABELLED";
/** The context of what this thread starts next (proc_pid_attr(5)). */
const execAttribute = "/proc/thread-self/attr/exec";
/** As long as a runtime usually gives to everything. Milliseconds. */
const timeout = 120_000;

/** The context that the process has to have which makes the link; undefined where this one will do. */
export function selinuxContextOf({ config: { fields }, env }: PluginRequest): string | undefined {
  const context = fields.string("selinuxContext") ?? "";
  return context === "" || env[labelledVariable] !== undefined ? undefined : context;
}

/**
 * Does an ADD in another process with a context; `takeBack` undoes it, also what that process had done when it was killed.
 * Throws a {@link CniError} where the kernel does not take the context.
 */
export async function addLabelled(
  request: PluginRequest,
  context: string,
  takeBack: () => Promise<void>,
): Promise<Result> {
  const { invocation, config, signal } = request;
  const { type } = config;
  const file = requirePlugin(type, invocation.path);
  return await withUndo(request, async (undo) => {
    setContext(context);
    let running: Promise<string>;
    try {
      // The process is started before this returns.
      running = execPlugin({
        file,
        type,
        invocation,
        stdin: JSON.stringify(config.fields.raw),
        timeout: request.delegateTimeout ?? timeout,
        ownGroup: request.delegateTimeout !== undefined,
        env: { ...request.env, [labelledVariable]: "1", [servedVariable]: "1" },
        signal,
        onStderr: (text) => request.warn(text.trimEnd()),
      });
    } finally {
      writeExisting(execAttribute, "\0");
    }
    let output: string;
    try {
      output = await running;
    } catch (error) {
      // Where it failed by itself it has taken back its steps; where it was killed it could not.
      if (hasCniCode(error, cniErrorCode.tryAgainLater)) undo.push(takeBack);
      throw error;
    }
    undo.push(takeBack);
    try {
      return parseResult(parseJsonObject(output, "result"), config.cniVersion);
    } catch (error) {
      throw rubbishError(type, "ADD", output, error);
    }
  });
}

function setContext(context: string): void {
  try {
    writeExisting(execAttribute, context);
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    throw new CniError(
      cniErrorCode.unsupportedField,
      `selinuxContext: "${context}" is refused by the kernel (${error.errnoName})`,
      {
        remedy: "Leave it out where SELinux is not in force, else name a context of its policy",
        cause: error,
      },
    );
  }
}
