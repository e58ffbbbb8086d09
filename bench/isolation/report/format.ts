/** Numbers for people. */

/** Three digits that say something. */
export function digits(value: number): string {
  const size = Math.abs(value);
  if (size >= 100 || value === 0) return Math.round(value).toLocaleString("en-GB");
  return size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** `0.85 µs`, `12.3 ms`. */
export function spellUs(us: number): string {
  if (us >= 1e6) return `${digits(us / 1e6)} s`;
  return us >= 1000 ? `${digits(us / 1000)} ms` : `${digits(us)} µs`;
}

export function spellBytes(bytes: number): string {
  if (Math.abs(bytes) >= 2 ** 20) return `${digits(bytes / 2 ** 20)} MiB`;
  return `${digits(bytes / 1024)} KiB`;
}

/** Memory of an instance: a difference of two looks at a process, which comes to less than nothing where the process changes by more meanwhile. */
export const spellMemory = (bytes: number): string => (bytes < 0 ? "about 0" : spellBytes(bytes));

export function spellRate(perSecond: number): string {
  if (perSecond >= 1e6) return `${digits(perSecond / 1e6)} M/s`;
  return perSecond >= 1e4 ? `${digits(perSecond / 1e3)} k/s` : `${digits(perSecond)}/s`;
}

/** `1.8 times` */
export const spellRatio = (ratio: number): string => `${digits(ratio)} times`;
