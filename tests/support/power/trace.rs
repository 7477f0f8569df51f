//! System calls as strace writes them down with `-f -xx -y -v`, taken apart but not understood.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Calls that strace need not show: they change neither files nor descriptors. All others it must, so that a call
/// which nobody thought of is seen and refused.
pub const UNTRACED: &str = "!read,pread64,readv,preadv,futex,madvise,brk,mprotect,munmap,mremap,sched_yield,\
                            sched_getaffinity,clock_gettime,clock_nanosleep,rt_sigaction,rt_sigprocmask,\
                            sigaltstack,epoll_wait,epoll_pwait,getrandom,gettid,getpid,set_robust_list,rseq,prctl";

/// One system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// The thread that made it.
    pub thread: u32,
    /// Its arguments as they stand in the trace.
    pub arguments: Vec<String>,
    /// What it returned; none if it had not returned when its process ended.
    pub result: Option<Result<i64, String>>,
    /// The line of the trace on which it began, from 1.
    pub line: usize,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The call with this index begins.
    Begins(usize),
    /// The call with this index has returned.
    Ends(usize),
}

/// The calls of one process and the order in which they began and returned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// In the order in which they began.
    pub calls: Vec<Call>,
    /// What happened, in order.
    pub steps: Vec<Step>,
}

impl Trace {
    /// Reads what strace wrote.
    ///
    /// # Errors
    /// Names the first line that makes no sense.
    pub fn parse(text: &str) -> Result<Trace, String> {
        let mut trace = Trace::default();
        let mut open: BTreeMap<u32, (usize, String)> = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("line {} of the trace {what}: {}", number + 1, shortened(line));
            let (thread, rest) = line.split_once(' ').ok_or_else(|| wrong("has no thread"))?;
            let thread = thread.parse().map_err(|_| wrong("has no thread"))?;
            let rest = rest.trim_start();
            if rest.starts_with("+++") || rest.starts_with("---") {
                continue;
            }
            if let Some(resumed) = rest.strip_prefix("<... ") {
                let (_, resumed) = resumed.split_once(" resumed>").ok_or_else(|| wrong("is no return"))?;
                let (index, begun) = open.remove(&thread).ok_or_else(|| wrong("ends what did not begin"))?;
                trace.finish(index, &(begun + resumed)).ok_or_else(|| wrong("has no result"))?;
                continue;
            }
            let (name, rest) = rest.split_once('(').ok_or_else(|| wrong("is no call"))?;
            let index = trace.calls.len();
            trace.steps.push(Step::Begins(index));
            let begun = rest.strip_suffix("<unfinished ...>");
            let (arguments, name) = (split(begun.unwrap_or(rest)), name.to_owned());
            trace.calls.push(Call { name, thread, arguments, result: None, line: number + 1 });
            match begun {
                Some(begun) => drop(open.insert(thread, (index, begun.to_owned()))),
                None => trace.finish(index, rest).ok_or_else(|| wrong("has no result"))?,
            }
        }
        Ok(trace)
    }

    /// Adds the result; `text` is what stands behind the call's opening bracket.
    fn finish(&mut self, index: usize, text: &str) -> Option<()> {
        let (arguments, result) = text.rsplit_once(") ")?;
        let result = result.trim_start().strip_prefix("= ")?;
        let call = self.calls.get_mut(index)?;
        call.arguments = split(arguments);
        // Its process was killed in it.
        if result.starts_with('?') {
            return Some(());
        }
        let (digits, rest) = match result.strip_prefix("0x") {
            // An address: a success.
            Some(_) => ("0", ""),
            None => result.split_at(result.find([' ', '<']).unwrap_or(result.len())),
        };
        let value: i64 = digits.parse().ok()?;
        call.result = Some(if value < 0 { Err(rest.trim().to_owned()) } else { Ok(value) });
        self.steps.push(Step::Ends(index));
        Some(())
    }
}

impl Call {
    /// An argument as text; empty if there are not so many.
    #[must_use]
    pub fn argument(&self, index: usize) -> &str {
        self.arguments.get(index).map_or("", String::as_str)
    }

    /// An argument that is a number, or a descriptor with its path.
    #[must_use]
    pub fn number(&self, index: usize) -> Option<i64> {
        let text = self.argument(index);
        text.split('<').next()?.parse().ok()
    }

    /// The path behind a descriptor.
    #[must_use]
    pub fn descriptor_path(&self, index: usize) -> Option<PathBuf> {
        let (_, path) = self.argument(index).split_once('<')?;
        decode(path.split_once('>')?.0).map(path_of)
    }

    /// An argument that is a path.
    #[must_use]
    pub fn path(&self, index: usize) -> Option<PathBuf> {
        strings(self.argument(index))?.pop().map(path_of)
    }

    /// The bytes of an argument that is a string, or a list of buffers one behind the other; none if strace has
    /// left some out.
    #[must_use]
    pub fn bytes(&self, index: usize) -> Option<Vec<u8>> {
        Some(strings(self.argument(index))?.concat())
    }

    /// Whether a flag is among those of an argument.
    #[must_use]
    pub fn has_flag(&self, index: usize, flag: &str) -> bool {
        self.argument(index).split('|').any(|found| found.trim_start_matches("flags=") == flag)
    }

    /// The call on a line that a person can read.
    #[must_use]
    pub fn shown(&self) -> String {
        let text = format!("line {}: {}({})", self.line, self.name, self.arguments.join(", "));
        match &self.result {
            Some(result) => format!("{} = {result:?}", readable(&text)),
            None => readable(&text),
        }
    }
}

/// Arguments, split at the commas that are in no bracket; hexadecimal strings hold neither.
fn split(arguments: &str) -> Vec<String> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, byte) in arguments.bytes().enumerate() {
        match byte {
            b'[' | b'{' | b'(' => depth += 1,
            b']' | b'}' | b')' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(arguments[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(arguments[start..].trim().to_owned());
    parts
}

/// Every string in a text; none if one of them was cut short.
fn strings(text: &str) -> Option<Vec<Vec<u8>>> {
    let parts: Vec<&str> = text.split('"').collect();
    if parts.len().is_multiple_of(2) || parts.len() < 3 || text.contains("\"...") {
        return None;
    }
    parts.iter().skip(1).step_by(2).map(|part| decode(part)).collect()
}

/// The bytes of `\x61\x62`.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let chunks = text.as_bytes().chunks(4);
    chunks
        .map(|chunk| match chunk {
            [b'\\', b'x', high, low] => Some(digit(*high)? * 16 + digit(*low)?),
            _ => None,
        })
        .collect()
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;

    std::ffi::OsString::from_vec(bytes).into()
}

/// Hexadecimal text as text, as far as it is; long strings are cut.
fn readable(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        shown.push_str(&rest[..at]);
        let end = rest[at..].find(['"', '>']).map_or(rest.len(), |end| at + end);
        let bytes = decode(&rest[at..end]).unwrap_or_default();
        shown.extend(String::from_utf8_lossy(&bytes).escape_debug().take(80));
        rest = &rest[end..];
    }
    shown + rest
}

fn shortened(line: &str) -> String {
    readable(line).chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = r"\x2f\x61";

    #[test]
    fn a_call_on_one_line_begins_and_ends() {
        let trace =
            Trace::parse(&format!("7  pwrite64(4<{HEX}>, \"\\x00\\x2c\\xff\", 3, 100) = 3\n")).unwrap();
        assert_eq!(trace.steps, [Step::Begins(0), Step::Ends(0)]);
        let call = &trace.calls[0];
        assert_eq!((call.number(0), call.number(3), &call.result), (Some(4), Some(100), &Some(Ok(3))));
        assert_eq!(call.descriptor_path(0), Some("/a".into()));
        assert_eq!(call.bytes(1), Some(vec![0, b',', 255]));
    }

    #[test]
    fn a_call_on_two_lines_is_put_together() {
        let text = format!(
            "7  openat(AT_FDCWD<{HEX}>, \"{HEX}\", O_RDWR|O_CREAT, 0600 <unfinished ...>\n\
             8  close(3)   = -1 EBADF (Bad file descriptor)\n\
             7  <... openat resumed>) = 5<{HEX}>\n"
        );
        let trace = Trace::parse(&text).unwrap();
        assert_eq!(trace.steps, [Step::Begins(0), Step::Begins(1), Step::Ends(1), Step::Ends(0)]);
        assert_eq!(trace.calls[0].result, Some(Ok(5)));
        assert_eq!(trace.calls[0].path(1), Some("/a".into()));
        assert!(trace.calls[0].has_flag(2, "O_CREAT") && !trace.calls[0].has_flag(2, "O_TRUNC"));
        assert_eq!(trace.calls[1].result, Some(Err("EBADF (Bad file descriptor)".to_owned())));
    }

    #[test]
    fn buffers_are_put_one_behind_the_other() {
        let line = r#"7  writev(4, [{iov_base="\x61", iov_len=1}, {iov_base="\x62", iov_len=1}], 2) = 2"#;
        let trace = Trace::parse(line).unwrap();
        assert_eq!(trace.calls[0].bytes(1), Some(b"ab".to_vec()));
        assert_eq!(trace.calls[0].number(2), Some(2));
    }

    #[test]
    fn what_strace_left_out_is_not_taken_for_all() {
        let trace = Trace::parse("7  write(4, \"\\x61\"..., 9) = 9").unwrap();
        assert_eq!(trace.calls[0].bytes(1), None);
    }

    #[test]
    fn a_killed_call_has_no_end() {
        let text =
            "7  write(4, \"\\x61\", 1) = ?\n8  fsync(4 <unfinished ...>\n8  +++ killed by SIGKILL +++\n";
        let trace = Trace::parse(text).unwrap();
        assert_eq!(trace.steps, [Step::Begins(0), Step::Begins(1)]);
        assert!(Trace::parse("7  nonsense").is_err());
    }
}
