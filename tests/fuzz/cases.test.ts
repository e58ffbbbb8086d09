/** Every case in cases/ that was a difference once is none any more. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { loadCase } from "./harness/case-file.ts";
import type { Verdict } from "./harness/compare.ts";
import { judge } from "./harness/judge.ts";
import type { Unit } from "./harness/unit.ts";

const folder = fileURLToPath(new URL("./cases/", import.meta.url));
const names = readdirSync(folder)
  .filter((file) => file.endsWith(".json"))
  .map((file) => file.slice(0, -".json".length))
  .sort();
const LEVELS = [0, 2, 3] as const;

describe.each(LEVELS)("cases at -O%i", (optimize) => {
  const verdicts = new Map<string, Verdict>();

  beforeAll(async () => {
    const units: Unit[] = [];
    for (const name of names) units.push((await loadCase(`${folder}${name}.json`)).unit);
    (await judge(units, { optimize })).forEach((verdict, i) => {
      verdicts.set(names[i] ?? "", verdict);
    });
  });

  it.each(names)("%s", (name) => {
    const verdict = verdicts.get(name);
    expect(verdict?.difference, verdict?.reason).toBeUndefined();
    expect(verdict?.kind).toBe("same");
    expect(verdict?.calls).toBeGreaterThan(0);
  });
});
