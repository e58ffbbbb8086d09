/** barecell as the engine of scripts: the package as built, and of its insides only the checks that come before the C compiler. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { linkModules } from "../../dist/compiler/linker.js";
import { checkCompileOptions } from "../../dist/compiler/options.js";
import { validateModule } from "../../dist/compiler/validate.js";
import { functionTypeOf, type ModuleInfo } from "../../dist/compiler/wasm-reader.js";
import { translateToC } from "../../dist/compiler/wasm2c.js";
import { compile, MicroVM, type TargetCpu } from "../../dist/index.js";
import type { Engine, EngineImage, EngineVm, Exported } from "./engine.ts";

const MAX_MODULE_BYTES = checkCompileOptions({}).maxModuleBytes;
/** No call of a script takes long; one that does has hung. */
const CALL_TIMEOUT_MS = 30_000;
const COMPILE_TIMEOUT_MS = 240_000;

export interface BarecellSettings {
  readonly targetCpu: TargetCpu | "host";
}

export const createBarecell = ({ targetCpu }: BarecellSettings): Engine => ({
  validate(bytes) {
    const info = validateModule(bytes, MAX_MODULE_BYTES);
    return {
      imports: info.imports.map((entry) => ({
        module: entry.module,
        name: entry.name,
        kind: entry.kind,
        mutable: entry.kind === "global" && entry.type.mutable,
      })),
      exports: new Map(info.exports.map((entry) => [entry.name, exportOf(info, entry)])),
      memoryPages: info.memories.slice(info.imported.memory).reduce((pages, memory) => pages + memory.min, 0),
      info,
    };
  },

  async translate(bytes) {
    const folder = await mkdtemp(join(tmpdir(), "barecell-spec-"));
    try {
      await translateToC([{ name: "module", bytes }], folder, { ...checkCompileOptions({}), level: 1 });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },

  checkLinks(modules) {
    linkModules(modules.map(({ name, shape, link }) => ({ name, link, info: shape.info as ModuleInfo })));
  },

  async compile(modules): Promise<EngineImage> {
    const image = await compile(
      modules.map(({ name, bytes, link }) => ({ name, source: bytes, link })),
      {
        instantiate: "on-demand",
        optimize: 1,
        targetCpu,
        cache: false,
        compileTimeoutMs: COMPILE_TIMEOUT_MS,
      },
    );
    return {
      boot(): EngineVm {
        const vm = MicroVM.bootSync(image, {
          afterTrap: "keep",
          maxMemoryBytes: 4 * 2 ** 30,
          timeoutMs: CALL_TIMEOUT_MS,
          unknownImports: "trap",
        });
        return {
          instantiate: (module) => vm.instantiateSync(module),
          call: (module, name, slots) => vm.module(module).callRawSync(name, slots),
          global: (module, name) => vm.module(module).globalRaw(name),
          dispose: () => vm.dispose(),
        };
      },
    };
  },
});

function exportOf(info: ModuleInfo, entry: ModuleInfo["exports"][number]): Exported {
  switch (entry.kind) {
    case "func":
      return { kind: "func", ...functionTypeOf(info, entry.index) };
    case "global": {
      const global = info.globals[entry.index];
      if (!global) throw new RangeError(`the module has no global ${entry.index}`);
      return { kind: "global", type: global.type };
    }
    default:
      return { kind: entry.kind };
  }
}
