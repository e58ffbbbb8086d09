/** What came after WebAssembly 2.0, recognised by its words: names for reasons, and the line between what may be refused and what may not. */

/** Words of WebAssembly text that only the proposal has. The first that fits names the text. */
const WORDS: readonly (readonly [proposal: string, words: RegExp])[] = [
  [
    "garbage collection",
    /^(?:rec|sub|final|struct|array|field|i8|i16|any|eq|i31|none|nofunc|noextern|(?:any|eq|i31|struct|array|null|nullfunc|nullextern)ref|(?:struct|array|i31|any|extern)\..+|ref\.(?:i31|eq|test|cast|struct|array)|br_on_cast(?:_fail)?)$/,
  ],
  [
    "exception handling",
    /^(?:tag|try|try_table|catch(?:_all)?(?:_ref)?|throw|throw_ref|rethrow|delegate|exn|noexn|(?:null)?exnref)$/,
  ],
  ["stack switching", /^(?:cont|cont\..+|resume|resume_throw|suspend|switch)$/],
  ["typed function references", /^(?:ref|null|(?:return_)?call_ref|ref\.as_non_null|br_on_(?:non_)?null)$/],
  ["tail calls", /^return_call(?:_indirect)?$/],
  ["threads", /^(?:shared|atomic\.fence|.+\.atomic\..+)$/],
  ["relaxed SIMD", /^[if]\d+x\d+\.relaxed_.+$/],
  ["wide arithmetic", /^i64\.(?:add128|sub128|mul_wide_[su])$/],
  ["custom page sizes", /^pagesize$/],
];

/** The proposal that the module's text belongs to, as far as single words tell. */
export function proposalOfText(text: Uint8Array): string | undefined {
  const plain = Buffer.from(text)
    .toString("latin1")
    .replace(/"[^"\\]*(?:\\[\s\S][^"\\]*)*"|;;[^\r\n]*|\(;[\s\S]*?;\)/g, " ");
  const words = new Set(plain.match(/[^ \t\r\n()";]+/g));
  for (const [proposal, pattern] of WORDS) {
    for (const word of words) if (pattern.test(word)) return proposal;
  }
  return undefined;
}

/** The proposal's name in a message of barecell's, or the whole message. */
export function proposalOfMessage(message: string): string {
  const found = /the proposal '([^']+)'/.exec(message) ?? /(?:: |\()([^:()]+) proposal\b/.exec(message);
  return found?.[1] ?? message.replace(/^.*? uses something barecell does not run: /, "");
}
