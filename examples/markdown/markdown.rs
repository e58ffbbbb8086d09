//! markdown: turns Markdown into HTML. Rust and its standard library alone; nothing here knows of barecell.
//!
//!     markdown [FILE]      FILE, or the standard input, to the standard output
//!
//! It knows the part of Markdown that most texts are made of: headings (`#`), paragraphs, lists (`-`, `1.`), quotes (`>`), fenced code,
//! rules (`---`), and in a line `code`, *emphasis*, **strong** and [links](to). HTML in the text is not passed on, but shown.

use std::io::{self, Read, Write};
use std::process::ExitCode;

/// What the lines at hand are a part of.
#[derive(Clone, Copy, PartialEq)]
enum Block {
    None,
    Paragraph,
    Quote,
    Bullets,
    Numbers,
}

impl Block {
    fn tags(self) -> (&'static str, &'static str) {
        match self {
            Block::None => ("", ""),
            Block::Paragraph => ("<p>", "</p>\n"),
            Block::Quote => ("<blockquote><p>", "</p></blockquote>\n"),
            Block::Bullets => ("<ul>\n<li>", "</li>\n</ul>\n"),
            Block::Numbers => ("<ol>\n<li>", "</li>\n</ol>\n"),
        }
    }
}

struct Writer {
    html: String,
    block: Block,
    /// Markdown of the block or list item, of which a line may end in the middle of an emphasis.
    text: String,
}

impl Writer {
    /// Ends what is open.
    fn end(&mut self) {
        self.flush();
        self.html.push_str(self.block.tags().1);
        self.block = Block::None;
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        inline(&text, &mut self.html);
    }

    /// A line that belongs to a block of this kind.
    fn line(&mut self, block: Block, text: &str, is_item: bool) {
        if self.block == block && is_item {
            self.flush();
            self.html.push_str("</li>\n<li>");
        } else if self.block != block {
            self.end();
            self.html.push_str(block.tags().0);
            self.block = block;
        } else {
            self.text.push('\n');
        }
        self.text.push_str(text);
    }
}

/// `## Title` as its level and its text.
fn heading(line: &str) -> Option<(usize, &str)> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    let is_heading = (1..=6).contains(&level) && (text.is_empty() || text.starts_with(' '));
    is_heading.then(|| (level, text.trim().trim_end_matches('#').trim_end()))
}

fn is_rule(line: &str) -> bool {
    let marks: String = line.split_whitespace().collect();
    marks.len() >= 3 && ['-', '*', '_'].iter().any(|&mark| marks.chars().all(|c| c == mark))
}

fn bullet(line: &str) -> Option<&str> {
    ["- ", "* ", "+ "].iter().find_map(|mark| line.strip_prefix(mark))
}

fn numbered(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = line.len() - rest.len();
    if (1..=9).contains(&digits) { rest.strip_prefix(". ") } else { None }
}

fn escape(text: &str, to: &mut String) {
    for c in text.chars() {
        match c {
            '&' => to.push_str("&amp;"),
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '"' => to.push_str("&quot;"),
            _ => to.push(c),
        }
    }
}

/// What stands before the closing mark, which does not come at once, and what after it.
fn until<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let at = text.find(mark).filter(|&at| at > 0)?;
    Some((&text[..at], &text[at + mark.len()..]))
}

/// The same of an emphasis, which does not begin with white space: `2 * 3 * 4` has none.
fn emphasis<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    if text.starts_with(char::is_whitespace) { None } else { until(text, mark) }
}

/// `[text](address)`, of which the `[` is taken already. An address with a scheme must be of the web or of mail.
fn link(text: &str) -> Option<(&str, &str, &str)> {
    let (label, rest) = until(text, "](")?;
    let (address, rest) = until(rest, ")")?;
    let scheme = address.split(['/', '?', '#']).next()?.split_once(':').map(|(scheme, _)| scheme);
    let is_harmless = scheme.map_or(true, |scheme| ["http", "https", "mailto"].contains(&scheme));
    (is_harmless && !address.contains(char::is_whitespace)).then(|| (label, address, rest))
}

fn inline(text: &str, to: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[', '\\']) {
        escape(&rest[..at], to);
        let (mark, after) = (&rest[at..=at], &rest[at + 1..]);
        rest = after;
        if mark == "\\" && after.starts_with(|c: char| c.is_ascii_punctuation()) {
            escape(&after[..1], to);
            rest = &after[1..];
            continue;
        }
        if let ("`", Some((code, next))) = (mark, until(after, "`")) {
            to.push_str("<code>");
            escape(code, to);
            to.push_str("</code>");
            rest = next;
        } else if let ("*", Some((strong, next))) = (mark, after.strip_prefix('*').and_then(|text| emphasis(text, "**"))) {
            wrap("strong", strong, to);
            rest = next;
        } else if let ("*", Some((text, next))) = (mark, emphasis(after, "*")) {
            wrap("em", text, to);
            rest = next;
        } else if let ("[", Some((label, address, next))) = (mark, link(after)) {
            to.push_str("<a href=\"");
            escape(address, to);
            to.push_str("\">");
            inline(label, to);
            to.push_str("</a>");
            rest = next;
        } else {
            to.push_str(mark);
        }
    }
    escape(rest, to);
}

fn wrap(tag: &str, text: &str, to: &mut String) {
    to.push_str(&format!("<{tag}>"));
    inline(text, to);
    to.push_str(&format!("</{tag}>"));
}

fn to_html(markdown: &str) -> String {
    let mut writer = Writer { html: String::new(), block: Block::None, text: String::new() };
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let text = line.trim();
        if text.starts_with("```") {
            writer.end();
            writer.html.push_str("<pre><code>");
            for line in lines.by_ref().take_while(|line| line.trim() != "```") {
                escape(line, &mut writer.html);
                writer.html.push('\n');
            }
            writer.html.push_str("</code></pre>\n");
        } else if text.is_empty() {
            writer.end();
        } else if let Some((level, title)) = heading(text) {
            writer.end();
            wrap(&format!("h{level}"), title, &mut writer.html);
            writer.html.push('\n');
        } else if is_rule(text) {
            writer.end();
            writer.html.push_str("<hr>\n");
        } else if let Some(quote) = text.strip_prefix('>') {
            writer.line(Block::Quote, quote.trim_start(), false);
        } else if let Some(item) = bullet(text) {
            writer.line(Block::Bullets, item, true);
        } else if let Some(item) = numbered(text) {
            writer.line(Block::Numbers, item, true);
        } else {
            // A line without a mark goes on with what is there.
            let block = if writer.block == Block::None { Block::Paragraph } else { writer.block };
            writer.line(block, text, false);
        }
    }
    writer.end();
    writer.html
}

fn convert() -> io::Result<()> {
    let mut bytes = Vec::new();
    match std::env::args().nth(1) {
        Some(path) => bytes = std::fs::read(path)?,
        None => drop(io::stdin().read_to_end(&mut bytes)?),
    }
    io::stdout().write_all(to_html(&String::from_utf8_lossy(&bytes)).as_bytes())
}

fn main() -> ExitCode {
    if let Err(error) = convert() {
        eprintln!("markdown: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
