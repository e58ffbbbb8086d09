const LONGEST = 240;

/** For a cell of a table. */
export function oneLine(text: string): string {
  const line = text.trim().replace(/\s*\n\s*/g, "; ");
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line;
}

/** A short text for any thrown value. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
