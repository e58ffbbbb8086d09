/** What peers have in common that run the C source as a program. */
import { type Peer, type Program, type Setting, Unavailable } from "../peer.ts";

/** @param settings what was chosen, in words */
export function native(settings: string): Pick<Peer, "available" | "unsuited"> {
  return {
    async available(setting) {
      requireLauncher(setting);
      return { version: "the C compiler's code, statically linked", settings };
    },
    unsuited: needsProgram,
  };
}

/** For `Peer.unsuited` of what runs a workload's program. */
export const needsProgram = ({ programPath, nativeProblem }: Program): string | null =>
  programPath === null ? nativeProblem : null;

/** @throws Unavailable */
export function requireLauncher({ launcherPath }: Setting): void {
  if (launcherPath === null) {
    throw new Unavailable(
      "the C compiler that would build the launcher was not found",
      "apt-get install gcc libc6-dev",
    );
  }
}
