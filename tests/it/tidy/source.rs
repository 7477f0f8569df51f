//! Source text as the checks see it: code without comments, strings and unit tests, line by line as it was.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// Path from the root of the repository.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl SourceFile {
    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }
}

/// Folders that hold nothing which a person wrote for this repository.
const FOREIGN_FOLDERS: [&str; 3] = ["target", "run", ".git"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package is a folder of the repository").to_path_buf()
}

/// Every file below `folder` with one of these extensions, in the order of their paths.
pub(crate) fn files(folder: &str, extensions: &[&str]) -> Vec<SourceFile> {
    let root = root();
    let mut found = Vec::new();
    collect(&root.join(folder), extensions, &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = path.strip_prefix(&root).expect("it was found below the root");
        SourceFile { path: path.to_string_lossy().into_owned(), text }
    };
    found.into_iter().map(read).collect()
}

fn collect(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if path.is_dir() {
            if !FOREIGN_FOLDERS.contains(&name.as_ref()) {
                collect(&path, extensions, found);
            }
        } else if path.extension().is_some_and(|end| extensions.iter().any(|wanted| end == *wanted)) {
            found.push(path);
        }
    }
}

/// What a stretch of a Rust file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stretch {
    Code,
    Comment,
    Quoted,
}

/// The file cut into stretches, in order; together they are the whole text.
fn stretches(text: &str) -> Vec<(Stretch, String)> {
    let chars: Vec<char> = text.chars().collect();
    let mut found: Vec<(Stretch, String)> = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let (kind, end) = match (chars[at], chars.get(at + 1)) {
            ('/', Some('/')) => {
                (Stretch::Comment, find(&chars, at, |rest| rest[0] == '\n').unwrap_or(chars.len()))
            }
            ('/', Some('*')) => (Stretch::Comment, block_comment_end(&chars, at)),
            ('"', _) => (Stretch::Quoted, string_end(&chars, at)),
            ('r', Some('"' | '#')) if !follows_word(&chars, at) => {
                (Stretch::Quoted, raw_string_end(&chars, at))
            }
            ('\'', Some(_)) => (Stretch::Quoted, character_end(&chars, at)),
            _ => (Stretch::Code, at),
        };
        let (kind, end) = if end == at { (Stretch::Code, at + 1) } else { (kind, end.min(chars.len())) };
        let piece: String = chars[at..end].iter().collect();
        match found.last_mut() {
            Some((last, text)) if *last == Stretch::Code && kind == Stretch::Code => text.push_str(&piece),
            _ => found.push((kind, piece)),
        }
        at = end;
    }
    found
}

/// The text with comments, strings and characters turned to spaces; lines stay lines.
pub(crate) fn code_of(text: &str) -> String {
    let keep = |(kind, text): (Stretch, String)| if kind == Stretch::Code { text } else { blank(&text) };
    stretches(text).into_iter().map(keep).collect()
}

/// The content of every string in the text, with the number of the line on which it begins.
pub(crate) fn strings_of(text: &str) -> Vec<(usize, String)> {
    let mut line = 1;
    let mut strings = Vec::new();
    for (kind, piece) in stretches(text) {
        if kind == Stretch::Quoted {
            strings.push((line, piece.trim_matches(['r', '#', '"', '\'']).to_owned()));
        }
        line += piece.matches('\n').count();
    }
    strings
}

fn find(chars: &[char], from: usize, wanted: impl Fn(&[char]) -> bool) -> Option<usize> {
    (from..chars.len()).find(|at| wanted(&chars[*at..]))
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at > 0 && is_word(chars[at - 1])
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of `r"…"` or `r#"…"#`; `start` itself if it is a raw identifier.
fn raw_string_end(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(start + 1 + hashes) != Some(&'"') {
        return start;
    }
    let closes =
        |rest: &[char]| rest[0] == '"' && rest.len() > hashes && rest[1..=hashes].iter().all(|c| *c == '#');
    find(chars, start + 2 + hashes, closes).map_or(chars.len(), |at| at + 1 + hashes)
}

/// The end of a character; `start` itself if it is a lifetime.
fn character_end(chars: &[char], start: usize) -> usize {
    if chars[start + 1] == '\\' {
        return find(chars, start + 3, |rest| rest[0] == '\'').map_or(chars.len(), |at| at + 1);
    }
    if chars.get(start + 2) == Some(&'\'') { start + 3 } else { start }
}

/// Splits code (without comments and strings) into what ships and its unit tests: each has spaces where the
/// other stands.
pub(crate) fn split_tests(code: &str) -> (String, String) {
    const MARK: &str = "#[cfg(test)]";
    let (mut shipped, mut tests) = (String::new(), String::new());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        let end = start + item_len(&rest[start..]);
        shipped.push_str(&rest[..start]);
        tests.push_str(&blank(&rest[..start]));
        shipped.push_str(&blank(&rest[start..end]));
        tests.push_str(&rest[start..end]);
        rest = &rest[end..];
    }
    shipped.push_str(rest);
    tests.push_str(&blank(rest));
    (shipped, tests)
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

/// How far the item at the start of the code goes: to its `;`, or to the brace that closes it.
fn item_len(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Whether a character can be part of a name.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_not_code() {
        let text =
            "let a = \"x // y\"; // tokio\n/* sled\n /* b */ */ let c = '\"'; let d: &'a str = r#\"q\"q\"#;";
        let code = code_of(text);
        assert_eq!(code.lines().count(), 3);
        let squeezed: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(squeezed.join(" "), "let a = ; let c = ; let d: &'a str = ;");
    }

    #[test]
    fn unit_tests_are_not_shipped() {
        let (shipped, tests) =
            split_tests("fn a() {}\n#[cfg(test)]\nmod tests { fn b() { c(); } }\nfn d() {}");
        assert!(shipped.contains("fn a") && shipped.contains("fn d") && !shipped.contains("fn b"));
        assert!(tests.contains("fn b") && !tests.contains("fn d"));
        assert_eq!(shipped.lines().count(), 4);
    }

    #[test]
    fn strings_are_found_with_their_lines() {
        assert_eq!(
            strings_of("a(\"one\"); // \"two\"\nb(\"three\")"),
            [(1, "one".into()), (2, "three".into())]
        );
    }
}
