// Host functions of the guests in guest.ts, as a worker process loads them.
import { setTimeout as sleep } from "node:timers/promises";

class Refusal extends Error {
  name = "Refusal";
  code = "EREFUSED";
}

export default {
  imports: {
    env: {
      wait: (_context, ms) => sleep(ms).then(() => {}),
      fail() {
        throw new Refusal("not today", { cause: "mood" });
      },
      block() {
        for (;;);
      },
      die: () => process.exit(42),
    },
  },
};
