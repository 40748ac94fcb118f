import { FakeMachine } from "../../src/linux/fake/index.ts";
import { type Kernel, openKernel } from "../../src/linux/kernel.ts";
import { createNetns, deleteNetns, type NetnsRef } from "../../src/linux/netns.ts";

/** A fresh network namespace and its kernel. */
export interface Place {
  readonly ref: NetnsRef;
  readonly kernel: Kernel;
}

/** A test's own machine: namespaces that end with the `using` block. */
export interface Lab extends Disposable {
  netns(): Place;
}

/** One of the kernels that the suite runs against. */
export interface Flavour {
  readonly name: string;
  open(): Lab;
}

let count = 0;

/** The machine's kernel, in namespaces that nobody else uses. */
export const realKernel: Flavour = {
  name: "the kernel",
  open() {
    const places: { name: string; kernel: Kernel }[] = [];
    return {
      netns() {
        count += 1;
        const name = `weft-t-conf-${process.pid}-${count}`;
        createNetns(name);
        const kernel = openKernel({ name });
        places.push({ name, kernel });
        return { ref: { name }, kernel };
      },
      [Symbol.dispose]() {
        for (const { name, kernel } of places) {
          kernel.close();
          deleteNetns(name);
        }
      },
    };
  },
};

/** The fake, for which a test is a machine of its own. */
export const fakeKernel: Flavour = {
  name: "the fake",
  open() {
    const machine = new FakeMachine();
    let places = 0;
    return {
      netns() {
        places += 1;
        const ref = { name: `place-${places}` };
        machine.createNetns(ref.name);
        return { ref, kernel: machine.kernel(ref) };
      },
      [Symbol.dispose]() {},
    };
  },
};

/** Waits for what the kernel does a moment later, in its own time: at most two seconds. */
export async function eventually(check: () => void): Promise<void> {
  for (const deadline = Date.now() + 2000; ; ) {
    try {
      return check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await Bun.sleep(5);
  }
}

/** The errno's name of what `action` throws; "" where it throws nothing. */
export function refusal(action: () => unknown): string {
  try {
    action();
    return "";
  } catch (error) {
    return (error as { errnoName?: string }).errnoName ?? String(error);
  }
}
