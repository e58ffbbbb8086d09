/** A unit from a seed; for the own generator also from the decisions that a seed led to, which is what the reducer shrinks. */
import type { BinaryenGenerator } from "../generator/binaryen.ts";
import { FUEL } from "../generator/body.ts";
import { Choices, type Decisions, deriveSeed, Streams } from "../generator/choices.ts";
import { generateModule } from "../generator/index.ts";
import type { Offer } from "../generator/shape.ts";
import { decodeModule } from "../wasm/decode.ts";
import { instructions } from "../wasm/instructions.ts";
import type { Module } from "../wasm/module.ts";
import { type Part, prepareUnit } from "./prepare.ts";
import { supportModules } from "./support.ts";
import type { Unit } from "./unit.ts";

export const MAIN = "main";
const LIBRARY = "lib";
/** A library is called by the fuel of its user, and takes its own for each call. */
const LIBRARY_FUEL = 100;

const MOST_ATTEMPTS = 20;

function build(origin: string, streams: Streams): Unit {
  const parts: Part[] = [];
  let offer: Offer | undefined;
  if (streams.stream("unit").oneIn(3)) {
    const { module, fuelGlobal } = generateModule(streams, LIBRARY);
    const fuel = { global: fuelGlobal, amount: LIBRARY_FUEL };
    parts.push({ name: LIBRARY, module, link: {}, fuel });
    offer = { module: LIBRARY, source: module };
  }
  const { module, fuelGlobal } = generateModule(streams, MAIN, offer);
  const link = offer ? { [LIBRARY]: LIBRARY } : {};
  parts.push({ name: MAIN, module, link, fuel: { global: fuelGlobal, amount: FUEL } });
  return prepareUnit(origin, parts, streams.stream("calls"));
}

export interface OwnUnit {
  readonly unit: Unit;
  readonly decisions: Decisions;
}

function own(origin: string, streams: Streams): OwnUnit {
  const unit = build(origin, streams);
  return { unit, decisions: streams.made };
}

export const ownUnit = (seed: number): OwnUnit => own(`own generator, seed ${seed}`, Streams.ofSeed(seed));

export const replayedUnit = (origin: string, decisions: Decisions): OwnUnit =>
  own(origin, Streams.replay(decisions));

/** Whether it is a module of WebAssembly 2.0. Binaryen's fuzzer now and then makes an instruction of a later proposal that was not asked for. */
function isPlain(bytes: Uint8Array): boolean {
  if (!WebAssembly.validate(bytes)) return false;
  try {
    for (const { code } of decodeModule(bytes).functions) for (const _ of instructions(code));
    return true;
  } catch {
    return false;
  }
}

async function plainModule(seed: number, generator: BinaryenGenerator): Promise<Module> {
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
    const bytes = await generator.generate(deriveSeed(seed, `binaryen ${attempt}`));
    if (isPlain(bytes)) return decodeModule(bytes);
  }
  throw new Error(`binaryen made no module of WebAssembly 2.0 in ${MOST_ATTEMPTS} attempts, seed ${seed}`);
}

export async function binaryenUnit(seed: number, generator: BinaryenGenerator): Promise<Unit> {
  const main = await plainModule(seed, generator);
  const parts: Part[] = [...supportModules(main)].map(([name, module]) => ({
    name,
    module,
    link: {},
    isSupport: true,
  }));
  const link = Object.fromEntries(parts.map(({ name }) => [name, name]));
  parts.push({ name: MAIN, module: main, link });
  return prepareUnit(`binaryen, seed ${seed}`, parts, Choices.ofSeed(deriveSeed(seed, "calls")));
}
