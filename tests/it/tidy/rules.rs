//! The rules over Rust files: which names may stand where, how a file opens, how long it may be.

use super::source::{SourceFile, code_of, is_word, split_tests};

/// One place where a rule is broken.
pub(crate) type Finding = String;

/// Most lines of a file that needs no reason.
const FILE_LINES_MAX: usize = 500;

/// Which part of a file a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// What is in the program.
    Shipped,
    /// Unit tests in it.
    Tests,
    /// All of it.
    All,
}

fn part_of(file: &SourceFile, part: Part) -> String {
    let code = code_of(&file.text);
    let (shipped, tests) = if is_test(file) { (String::new(), code.clone()) } else { split_tests(&code) };
    match part {
        Part::Shipped => shipped,
        Part::Tests => tests,
        Part::All => code,
    }
}

/// Whether all of a file is there for tests.
fn is_test(file: &SourceFile) -> bool {
    let path = &file.path;
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs")
}

/// Where one of the names stands in the code. A name is an identifier or a path of them, as in `std::fs`, which
/// is also found inside `use std::{fs, io}`; one that ends with `!` is a macro.
pub(crate) fn forbidden_names(files: &[SourceFile], part: Part, names: &[&str], why: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let code = spread_groups(&part_of(file, part));
        for name in names {
            for at in positions(&code, name) {
                let line = code[..at].matches('\n').count() + 1;
                findings.push(format!("{}:{line}: `{name}`: {why}", file.path));
            }
        }
    }
    findings
}

fn positions(code: &str, name: &str) -> Vec<usize> {
    let bounded = |at: &usize| {
        let before = code[..*at].chars().next_back().is_none_or(|c| !is_word(c));
        let after = code[*at + name.len()..].chars().next().is_none_or(|c| !is_word(c));
        before && (after || name.ends_with('!'))
    };
    code.match_indices(name).map(|(at, _)| at).filter(bounded).collect()
}

/// Writes `a::{b, c::d}` as `a::{a::b, a::c::d}` for the first level of each group, so that a path is found
/// however it was imported.
fn spread_groups(code: &str) -> String {
    let mut spread = String::with_capacity(code.len());
    let mut prefixes: Vec<String> = Vec::new();
    let mut fresh = false;
    for (at, c) in code.char_indices() {
        if fresh && is_word(c) {
            if let Some(prefix) = prefixes.last() {
                spread.push_str(prefix);
            }
            fresh = false;
        }
        spread.push(c);
        match c {
            '{' => {
                let head = code[..at].trim_end();
                let path = head.strip_suffix("::").map(|head| {
                    let start = head.rfind(|c: char| !is_word(c) && c != ':').map_or(0, |at| at + 1);
                    format!("{}::", &head[start..])
                });
                let outer = prefixes.last().cloned().unwrap_or_default();
                prefixes.push(path.map_or_else(String::new, |path| format!("{outer}{path}")));
                fresh = true;
            }
            '}' => drop(prefixes.pop()),
            ',' => fresh = true,
            _ => {}
        }
    }
    spread
}

/// Files that do not say at their top what they are.
pub(crate) fn without_opening(files: &[SourceFile]) -> Vec<Finding> {
    let silent = |file: &&SourceFile| {
        let first = file.text.lines().next().unwrap_or_default();
        first.strip_prefix("//! ").is_none_or(|sentence| sentence.trim().len() < 10)
    };
    files
        .iter()
        .filter(silent)
        .map(|file| format!("{}:1: does not open with `//!`: what it is", file.path))
        .collect()
}

/// Files longer than anyone reads, but for those with a reason. A reason for a file that is short is one too many.
pub(crate) fn too_long(files: &[SourceFile], reasons: &[(&str, &str)]) -> Vec<Finding> {
    let excused = |path: &str| reasons.iter().any(|(file, reason)| *file == path && !reason.is_empty());
    let long: Vec<&SourceFile> =
        files.iter().filter(|file| file.text.lines().count() > FILE_LINES_MAX).collect();
    let unexcused = long.iter().filter(|file| !excused(&file.path)).map(|file| {
        format!(
            "{}: has {} lines; split it by meaning, or give a reason",
            file.path,
            file.text.lines().count()
        )
    });
    let idle = reasons.iter().filter(|(path, _)| !long.iter().any(|file| file.path == *path));
    unexcused
        .chain(idle.map(|(path, _)| format!("{path}: needs no reason for its length any more")))
        .collect()
}

/// Work that was left for later, and tests that are left out without saying why.
pub(crate) fn unfinished(files: &[SourceFile]) -> Vec<Finding> {
    let macros = ["todo!", "unimplemented!", "dbg!"];
    let mut findings = forbidden_names(files, Part::All, &macros, "is not finished");
    for file in files {
        for (number, line) in code_of(&file.text).lines().enumerate() {
            if line.contains("#[ignore]") {
                findings.push(format!("{}:{}: `#[ignore]` without a reason", file.path, number + 1));
            }
        }
    }
    findings
}

/// Tests that wait for time to pass in place of an event.
pub(crate) fn sleeping_tests(files: &[SourceFile]) -> Vec<Finding> {
    forbidden_names(files, Part::Tests, &["thread::sleep"], "a test waits for what happens, not for time")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str, text: &str) -> Vec<SourceFile> {
        vec![SourceFile::new(path, text)]
    }

    #[test]
    fn names_are_found_however_they_are_imported() {
        for text in
            ["use std::fs;", "use std::{io, fs::File};", "fn a() { std::fs::read(b) }", "use std::{\n fs\n};"]
        {
            assert_eq!(
                forbidden_names(&one("a.rs", text), Part::Shipped, &["std::fs"], "no").len(),
                1,
                "{text}"
            );
        }
    }

    #[test]
    fn parts_of_words_comments_strings_and_tests_are_no_names() {
        for text in
            ["use std::fsx;", "// std::fs", "a(\"std::fs\")", "#[cfg(test)] mod tests { use std::fs; }"]
        {
            assert_eq!(
                forbidden_names(&one("a.rs", text), Part::Shipped, &["std::fs"], "no"),
                [""; 0],
                "{text}"
            );
        }
    }

    #[test]
    fn a_finding_names_the_line() {
        let findings = forbidden_names(&one("a.rs", "//! A.\n\nuse tokio::fs;"), Part::All, &["tokio"], "no");
        assert_eq!(findings, ["a.rs:3: `tokio`: no"]);
    }

    #[test]
    fn a_file_must_say_what_it_is() {
        assert_eq!(without_opening(&one("a.rs", "use a::b;\n//! Late words.")).len(), 1);
        assert_eq!(without_opening(&one("a.rs", "//! A.")).len(), 1);
        assert_eq!(without_opening(&one("a.rs", "//! What this is.\n")), [""; 0]);
    }

    #[test]
    fn a_long_file_needs_a_reason_and_a_short_one_none() {
        let long = one("a.rs", &"\n".repeat(FILE_LINES_MAX + 1));
        assert_eq!(too_long(&long, &[]).len(), 1);
        assert_eq!(too_long(&long, &[("a.rs", "one table")]), [""; 0]);
        assert_eq!(too_long(&one("a.rs", "\n"), &[("a.rs", "one table")]).len(), 1);
    }

    #[test]
    fn unfinished_work_is_found() {
        for text in ["fn a() { todo!() }", "fn a() { dbg!(1); }", "#[test]\n#[ignore]\nfn a() {}"] {
            assert_eq!(unfinished(&one("a.rs", text)).len(), 1, "{text}");
        }
        assert_eq!(unfinished(&one("a.rs", "#[ignore = \"needs a GPU\"]\nfn a() {}")), [""; 0]);
    }

    #[test]
    fn sleeping_tests_are_found_and_sleeping_programs_are_not() {
        let sleep = "use std::{thread::sleep, fs};";
        assert_eq!(sleeping_tests(&one("tests/it/a.rs", sleep)).len(), 1);
        assert_eq!(sleeping_tests(&one("node/src/a.rs", sleep)), [""; 0]);
        let unit = "#[cfg(test)]\nmod tests { fn a() { std::thread::sleep(b); } }";
        assert_eq!(sleeping_tests(&one("node/src/a.rs", unit)).len(), 1);
    }
}
