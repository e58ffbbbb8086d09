/** Results of functions of the raw-code host module (raw-code.ts), in JavaScript's arithmetic, which is the same. */

/** What `good(n)` computes. */
export function goodResult(n: number): number {
  let x = 1;
  for (let i = 0; i < Math.max(n, 1); i++) x = x / 3 + Math.sqrt(i);
  return x + Math.fround(Math.fround(1) / Math.fround(3));
}

/** What `victim()` computes while it is still itself, of so many rounds. */
export function victimResult(rounds: number): bigint {
  let x = 42n;
  for (let i = 0; i < rounds; i++) {
    x = BigInt.asUintN(64, x * 6364136223846793005n) ^ 1442695040888963407n;
    x = BigInt.asUintN(64, (x << 17n) | (x >> 47n));
  }
  return BigInt.asIntN(64, x);
}
