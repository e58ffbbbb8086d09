/** How much is measured: enough for a p99, or only enough to see that all works. */

export interface Plan {
  readonly quick: boolean;
  /** Samples of each peer and workload. */
  readonly samples: number;
  readonly leastSamples: number;
  /** No more samples are taken of a peer and workload when it took this long. */
  readonly budgetMs: number;
  /** When the whole measurement took this long, one sample must do for what is still to come. */
  readonly hurryAfterMs: number;
  /** Peers take turns; about so long is a turn. */
  readonly turnMs: number;
  /** Requests before those of each turn, not counted: the caches belong to another peer then. */
  readonly warmUpPerTurn: number;
  /** Requests before the first turn. */
  readonly warmUp: number;
  readonly throughputMs: number;
  /** With so many of the workloads that are for it. */
  readonly throughputWorkloads: number;
  readonly heldInstances: number;
  readonly holdRounds: number;
  /** Rounds before those, not counted: after them, what the process keeps for the next time is there already. */
  readonly holdWarmUp: number;
  /** After which a function that never comes back is to be stopped. */
  readonly stopAfterMs: number;
  /** Times of the stop test. */
  readonly stopRounds: number;
  /** How long a host may take for what it should do at once, before it counts as lost. */
  readonly lostAfterMs: number;
  /** A peer that does not answer for so long hangs. */
  readonly deadlineMs: number;
  readonly bootstrapRounds: number;
}

export const FULL: Plan = {
  quick: false,
  samples: 300,
  leastSamples: 20,
  budgetMs: 6000,
  hurryAfterMs: Number.MAX_SAFE_INTEGER,
  turnMs: 150,
  warmUpPerTurn: 2,
  warmUp: 20,
  throughputMs: 1500,
  throughputWorkloads: 2,
  heldInstances: 32,
  holdRounds: 3,
  holdWarmUp: 1,
  stopAfterMs: 100,
  stopRounds: 5,
  lostAfterMs: 8000,
  deadlineMs: 60_000,
  bootstrapRounds: 2000,
};

export const QUICK: Plan = {
  ...FULL,
  quick: true,
  samples: 30,
  leastSamples: 3,
  budgetMs: 350,
  hurryAfterMs: 80_000,
  turnMs: 60,
  warmUpPerTurn: 1,
  warmUp: 3,
  throughputMs: 200,
  throughputWorkloads: 1,
  heldInstances: 8,
  holdRounds: 1,
  stopRounds: 2,
  lostAfterMs: 3000,
  deadlineMs: 20_000,
  bootstrapRounds: 500,
};
