/** `barecell compile`. */
import { obtainImage } from "./input.ts";
import { EXIT, printJson } from "./report.ts";
import type { Invocation } from "./table.ts";
import { printableName, spellBytes, stdout } from "./terminal.ts";

/** Runs the command. @returns the exit status */
export async function compileCommand({ operands, options }: Invocation<"compile">): Promise<number> {
  const file = operands[0] ?? "";
  const output = options.output ?? `${file.replace(/\.wasm$/, "")}.cell`;
  const { image, isCached, compileUs } = await obtainImage(file, options, {
    onlyModule: true,
    ...(options.name === undefined ? {} : { name: options.name }),
  });
  await image.save(output);
  if (options.json) {
    printJson({
      ok: true,
      image: output,
      name: image.name,
      digest: image.digest,
      sizeBytes: image.bytes.length,
      cached: isCached,
      compileUs: Math.round(compileUs * 10) / 10,
    });
  } else {
    const how = isCached ? "from the cache" : `${(compileUs / 1e6).toFixed(2)} s`;
    stdout.line(`${printableName(output)}: ${spellBytes(image.bytes.length)}, ${how}`);
  }
  return EXIT.ok;
}
