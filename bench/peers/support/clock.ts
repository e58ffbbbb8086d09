/** Microseconds of CLOCK_MONOTONIC, the same in every thread and process. */
export const nowUs = (): number => Number(process.hrtime.bigint()) / 1000;
