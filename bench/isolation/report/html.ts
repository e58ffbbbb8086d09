/** HTML from templates that escape what is put into them: names and reasons come from programs of all kinds. */

/** Text that is HTML already. */
export interface Markup {
  readonly text: string;
}

type Part = Markup | string | number | readonly Part[];

export const raw = (text: string): Markup => ({ text });

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};
const escaped = (text: string): string => text.replace(/[&<>"']/g, (found) => ESCAPES[found] ?? found);

function partText(part: Part): string {
  if (typeof part === "string") return escaped(part);
  if (typeof part === "number") return String(part);
  return "text" in part ? part.text : part.map(partText).join("");
}

export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  return raw(strings.reduce((text, piece, i) => text + partText(parts[i - 1] ?? "") + piece));
}

/** @param left how many headings stand to the left; those after are above numbers */
export function table(
  head: readonly string[],
  rows: readonly (readonly Markup[])[],
  classes: readonly string[] = [],
  left = head.length,
): Markup {
  const headings = head.map((text, i) => html`<th class="${i < left ? "" : "num"}">${text}</th>`);
  const lines = rows.map((row, i) => html`<tr class="${classes[i] ?? ""}">${row}</tr>`);
  return html`<div class="scroll"><table><thead><tr>${headings}</tr></thead><tbody>${lines}</tbody></table></div>`;
}
