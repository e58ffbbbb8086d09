/** The helper's side of HelperProcess. */
import { createInterface } from "node:readline";

/** Answers each line of the standard input with a line, one after the other, until the input ends. */
export async function answerOrders(serve: (order: number) => Promise<string> | string): Promise<void> {
  for await (const line of createInterface(process.stdin)) {
    const order = Number(line);
    if (!Number.isInteger(order) || order < 0) throw new Error(`not an order: '${line}'`);
    process.stdout.write(`${await serve(order)}\n`);
  }
}
