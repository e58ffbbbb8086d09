/** For what is prepared, not measured. */
import { cpus } from "node:os";

/** As many at a time as there are processors. @returns what came of each, in their order. @throws the first error, when all that began has ended */
export async function severalAtOnce<T, R>(items: readonly T[], act: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const errors: unknown[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length && errors.length === 0) {
      const place = next++;
      try {
        results[place] = await act(items[place] as T);
      } catch (error) {
        errors.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: cpus().length }, worker));
  if (errors.length > 0) throw errors[0];
  return results;
}
