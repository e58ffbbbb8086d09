/** `barecell compile`. */
import { preinitialise } from "../vm/preinitialise.ts";
import { linkImage, obtainImage } from "./input.ts";
import { EXIT, printJson, usageError } from "./report.ts";
import type { Invocation } from "./table.ts";
import { printableName, spellBytes, stdout } from "./terminal.ts";

/** Runs the command. @returns the exit status */
export async function compileCommand({ operands, options }: Invocation<"compile">): Promise<number> {
  const [file = ""] = operands;
  // A single file may have any name; several, or one with a name of its own, are linked.
  const isLinked = operands.length > 1 || /^[^/=]+=/.test(file);
  if (isLinked && options.name !== undefined) {
    throw usageError("--name is for a single module; write name=file.wasm for each");
  }
  const {
    image: compiled,
    isCached,
    compileUs,
  } = isLinked
    ? await linkImage(operands, options)
    : await obtainImage(file, options, {
        onlyModule: true,
        ...(options.name === undefined ? {} : { name: options.name }),
      });
  const image = options.preinit === undefined ? compiled : await preinitialise(compiled, options.preinit);
  const main = (operands.at(-1) ?? "").replace(isLinked ? /^[^/=]+=/ : /^/, "");
  const output = options.output ?? `${main.replace(/\.wasm$/, "")}.cell`;
  await image.save(output);
  if (options.json) {
    printJson({
      ok: true,
      image: output,
      name: image.name,
      modules: image.modules.map(({ name }) => name),
      digest: image.digest,
      sizeBytes: image.bytes.length,
      cached: isCached,
      snapshot: image.isSnapshot,
      compileUs: Math.round(compileUs * 10) / 10,
    });
  } else {
    const how = isCached ? "from the cache" : `${(compileUs / 1e6).toFixed(2)} s`;
    stdout.line(`${printableName(output)}: ${spellBytes(image.bytes.length)}, ${how}`);
  }
  return EXIT.ok;
}
