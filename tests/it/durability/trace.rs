//! A trace of system calls, as strace writes it, and what it says about the order of sync and reply.

use std::collections::BTreeMap;

/// Calls that give bytes to a file or a socket.
const WRITES: [&str; 7] = ["write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg"];

/// Calls after which a file's bytes survive a loss of power.
const SYNCS: [&str; 2] = ["fdatasync", "fsync"];

/// One system call.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    name: String,
    /// What the descriptor of its first argument stands for.
    target: String,
    arguments: String,
    /// Line of the trace on which it began.
    began: usize,
    /// Line on which it had succeeded; none if it failed, or had not ended when the trace did.
    succeeded: Option<usize>,
}

impl Call {
    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }
}

/// What is wrong with the order of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Violation {
    /// No file was given bytes with the mark.
    NotWritten,
    /// No reply was sent.
    NotAnswered,
    /// The reply began before a sync of the file had succeeded that began after the write.
    AnsweredBeforeSync {
        /// The file with the record.
        file: String,
        /// Line of the trace on which the reply began.
        reply: usize,
    },
}

/// Says whether the record that holds `mark` was synced before the first reply that begins with `reply` was sent.
///
/// The record is the first write of the mark to a file called `file_name`.
pub(crate) fn synced_before_reply(
    trace: &str,
    file_name: &str,
    mark: &str,
    reply: &str,
) -> Result<(), Violation> {
    let calls = parse(trace);
    let is_record = |call: &&Call| {
        call.is(&WRITES) && call.target.rsplit('/').next() == Some(file_name) && call.arguments.contains(mark)
    };
    let record = calls.iter().find(is_record).ok_or(Violation::NotWritten)?;
    let is_reply = |call: &&Call| {
        call.is(&WRITES) && !call.target.starts_with('/') && call.arguments.contains(&format!("\"{reply}"))
    };
    let answer = calls.iter().find(is_reply).ok_or(Violation::NotAnswered)?;
    let synced = calls.iter().any(|call| {
        call.is(&SYNCS)
            && call.target == record.target
            && record.succeeded.is_some_and(|written| call.began > written)
            && call.succeeded.is_some_and(|synced| synced < answer.began)
    });
    if synced {
        return Ok(());
    }
    Err(Violation::AnsweredBeforeSync { file: record.target.clone(), reply: answer.began })
}

/// The calls of a trace made with `strace -f -yy`, in the order in which they began.
fn parse(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<... ") {
            if let Some(index) = open.remove(thread) {
                calls[index].succeeded = succeeded(rest).then_some(number);
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        let unfinished = rest.ends_with("<unfinished ...>");
        if unfinished {
            open.insert(thread, calls.len());
        }
        calls.push(Call {
            name: name.to_owned(),
            target: target(arguments),
            arguments: arguments.to_owned(),
            began: number,
            succeeded: (!unfinished && succeeded(rest)).then_some(number),
        });
    }
    calls
}

/// What stands in angle brackets behind the first descriptor: a path, or the ends of a socket.
fn target(arguments: &str) -> String {
    let descriptor = arguments.find(|c: char| !c.is_ascii_digit()).unwrap_or(arguments.len());
    let Some(named) = arguments[descriptor..].strip_prefix('<') else { return String::new() };
    // A socket has further brackets inside: `<UNIX-STREAM:[1->2, "/run/api.sock"]>`.
    let mut depth = 1_usize;
    let mut before = ' ';
    for (at, c) in named.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if before == '-' => {}
            '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return named[..at].to_owned();
        }
        before = c;
    }
    String::new()
}

fn succeeded(line: &str) -> bool {
    let result = line.rsplit_once(" = ").map(|(_, result)| result.trim());
    result.is_some_and(|result| result.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: &str = r#"11 pwrite64(7</d/journal/db>, "\1\2marked-pod\3", 512, 0) = 512"#;
    const SYNC: &str = "11 fdatasync(9</d/journal/db>) = 0";
    const REPLY: &str = r#"12 writev(14<UNIX-STREAM:[31->30,"/d/api.sock"]>, [{iov_base="HTTP/1.1 201 Created\r\n", iov_len=22}], 1) = 22"#;

    fn check(lines: &[&str]) -> Result<(), Violation> {
        synced_before_reply(&lines.join("\n"), "db", "marked-pod", "HTTP/1.1 201")
    }

    fn too_early(reply: usize) -> Result<(), Violation> {
        Err(Violation::AnsweredBeforeSync { file: "/d/journal/db".to_owned(), reply })
    }

    #[test]
    fn write_then_sync_then_reply_is_in_order() {
        assert_eq!(check(&[WRITE, SYNC, REPLY]), Ok(()));
    }

    #[test]
    fn a_reply_without_a_sync_is_found() {
        assert_eq!(check(&[WRITE, REPLY]), too_early(1));
        assert_eq!(check(&[SYNC, WRITE, REPLY]), too_early(2));
        assert_eq!(check(&[WRITE, REPLY, SYNC]), too_early(1));
    }

    #[test]
    fn a_sync_of_another_file_or_one_that_failed_does_not_count() {
        assert_eq!(check(&[WRITE, "11 fdatasync(9</d/journal/conf>) = 0", REPLY]), too_early(2));
        assert_eq!(
            check(&[WRITE, "11 fdatasync(9</d/journal/db>) = -1 EIO (Input/output error)", REPLY]),
            too_early(2)
        );
        assert_eq!(check(&[WRITE, "11 sync_file_range(9</d/journal/db>, 0, 0, 2) = 0", REPLY]), too_early(2));
    }

    #[test]
    fn a_sync_counts_from_its_end_and_only_if_it_began_after_the_write() {
        let begun = "11 fdatasync(9</d/journal/db> <unfinished ...>";
        let ended = "11 <... fdatasync resumed>)           = 0";
        assert_eq!(check(&[WRITE, begun, ended, REPLY]), Ok(()));
        assert_eq!(check(&[WRITE, begun, REPLY, ended]), too_early(2));
        let elsewhere = WRITE.replace("11 ", "13 ");
        assert_eq!(check(&[begun, &elsewhere, ended, REPLY]), too_early(3));
    }

    #[test]
    fn a_trace_without_the_record_or_the_reply_proves_nothing() {
        assert_eq!(check(&[SYNC, REPLY]), Err(Violation::NotWritten));
        assert_eq!(check(&[WRITE, SYNC]), Err(Violation::NotAnswered));
    }
}
