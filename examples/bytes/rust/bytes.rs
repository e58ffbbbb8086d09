//! Functions over bytes and over JSON, for a host that follows docs/guest-convention.md. The same in three languages.

mod barecell;

/// What every reader of JSON knows exactly.
const MAX_SAFE: i64 = (1 << 53) - 1;

/// Letters of ASCII to upper case; other bytes stay, so UTF-8 stays UTF-8.
fn upper(input: &[u8]) -> Vec<u8> {
    input.to_ascii_uppercase()
}

/// A whole number of at most 2^53 - 1. JSON has no zeros before other digits, and no plus sign.
fn whole(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_well_formed =
        digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let number: i64 = text.parse().ok()?;
    (is_well_formed && number.abs() <= MAX_SAFE).then_some(number)
}

fn sum(json: &str) -> Option<(usize, i64)> {
    let white_space: &[char] = &[' ', '\t', '\n', '\r'];
    let list = json.trim_matches(white_space).strip_prefix('[')?.strip_suffix(']')?;
    if list.trim_matches(white_space).is_empty() {
        return Some((0, 0));
    }
    let (mut count, mut total) = (0, 0);
    for item in list.split(',') {
        total += whole(item.trim_matches(white_space))?;
        if i64::abs(total) > MAX_SAFE {
            return None;
        }
        count += 1;
    }
    Some((count, total))
}

/// [1, 2, 3] to {"count":3,"sum":6}; what is not a list of whole numbers to {"error":"..."}.
fn sum_json(input: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(input).ok().and_then(sum) {
        Some((count, total)) => format!("{{\"count\":{count},\"sum\":{total}}}").into_bytes(),
        None => b"{\"error\":\"not a list of whole numbers\"}".to_vec(),
    }
}

// Under names of their own, since an export is a symbol and would be the function above.
mod exports {
    use super::barecell::export;
    export!(upper, super::upper);
    export!(sum_json, super::sum_json);
}
