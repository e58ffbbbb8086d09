/** Functions over bytes and over JSON, for a host that follows docs/guest-convention.md. The same in three languages. */
import { give, giveText, take, takeText } from "./barecell";

export { barecell_alloc, barecell_free } from "./barecell";

/** Letters of ASCII to upper case; other bytes stay, so UTF-8 stays UTF-8. */
export function upper(input: usize, length: i32): u64 {
  const bytes = take(input, length);
  for (let i = 0; i < length; i++) {
    const c = bytes[i];
    if (c >= 0x61 && c <= 0x7a) bytes[i] = c - 0x20;
  }
  return give(bytes);
}

/** 2^53 - 1: what every reader of JSON knows exactly. */
const MAX_SAFE: i64 = 9007199254740991;

class List {
  count: i32 = 0;
  sum: i64 = 0;
  private text: string;
  private at: i32 = 0;

  constructor(text: string) {
    this.text = text;
  }

  /** @returns whether the text is a list of whole numbers */
  read(): bool {
    this.skipSpace();
    if (!this.take(0x5b)) return false;
    this.skipSpace();
    if (!this.take(0x5d)) {
      do {
        this.skipSpace();
        if (!this.number()) return false;
        this.skipSpace();
      } while (this.take(0x2c));
      if (!this.take(0x5d)) return false;
    }
    this.skipSpace();
    return this.at == this.text.length;
  }

  /** A whole number of at most 2^53 - 1. JSON has no zeros before other digits. */
  private number(): bool {
    const isNegative = this.take(0x2d);
    const first = this.at;
    let value: i64 = 0;
    while (this.at < this.text.length) {
      const digit = this.text.charCodeAt(this.at) - 0x30;
      if (digit < 0 || digit > 9) break;
      if (value > MAX_SAFE / 10) return false;
      value = value * 10 + digit;
      this.at++;
    }
    const digits = this.at - first;
    if (digits == 0 || value > MAX_SAFE) return false;
    if (digits > 1 && this.text.charCodeAt(first) == 0x30) return false;
    this.sum += isNegative ? -value : value;
    if (this.sum > MAX_SAFE || this.sum < -MAX_SAFE) return false;
    this.count++;
    return true;
  }

  private take(c: i32): bool {
    if (this.at >= this.text.length || this.text.charCodeAt(this.at) != c) return false;
    this.at++;
    return true;
  }

  private skipSpace(): void {
    while (this.take(0x20) || this.take(0x09) || this.take(0x0a) || this.take(0x0d)) {}
  }
}

/** [1, 2, 3] to {"count":3,"sum":6}; what is not a list of whole numbers to {"error":"..."}. */
export function sum_json(input: usize, length: i32): u64 {
  const list = new List(takeText(input, length));
  if (!list.read()) return giveText('{"error":"not a list of whole numbers"}');
  return giveText('{"count":' + list.count.toString() + ',"sum":' + list.sum.toString() + "}");
}
