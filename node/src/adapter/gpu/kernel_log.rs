//! Reads of GPUs' faults (Xids) in the kernel's log, beside what the driver's library tells: it goes on where that cannot
//! tell, and has each of several faults with a number of its own.
//!
//! Whatever runs on the machine may write to the log. What counts is that the kernel says who wrote a message: of others
//! none is believed.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use nix::libc::{EPIPE, O_NONBLOCK};

use super::board::Board;

/// Longest message with what the kernel says of it, in bytes: what it writes at most.
const LINE_LEN_MAX: usize = 8_192;
/// The largest number that is taken for a fault's: NVIDIA's have three digits.
const XID_MAX: u32 = 9_999;

/// Begins to read, until the board is told to stop. A log that cannot be read is told of and left alone.
pub(super) fn begin(path: PathBuf, board: Arc<Board>) -> std::io::Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    // Opened by the caller: whatever is written from now on is read.
    let file = match open(&path) {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error,
                "the kernel's log cannot be read: of faults of GPUs, their driver alone tells");
            return Ok(());
        }
    };
    let read = move || {
        if let Err(error) = read(file, &board) {
            tracing::warn!(path = %path.display(), %error, "the kernel's log cannot be read any more");
        }
    };
    std::thread::Builder::new().name("kernel-log".to_owned()).spawn(read).map(drop)
}

/// Opens a log at its end: what was before was there for an earlier service to read.
fn open(path: &std::path::Path) -> std::io::Result<File> {
    let mut file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    match file.seek(SeekFrom::End(0)) {
        // A pipe has no end to go to.
        Err(error) if error.kind() == ErrorKind::NotSeekable => Ok(file),
        sought => sought.map(|_| file),
    }
}

fn read(mut file: File, board: &Board) -> std::io::Result<()> {
    let (mut buffer, mut lines) = ([0; LINE_LEN_MAX], Lines::default());
    loop {
        let len = match file.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // The kernel has written over what was to be read next: it goes on with what there is.
            Err(error) if error.raw_os_error() == Some(EPIPE) => {
                tracing::warn!("messages of the kernel's log were lost before they could be read");
                continue;
            }
            Err(error) => return Err(error),
        };
        for (bus, xid) in lines.faults(buffer.get(..len).unwrap_or_default()) {
            board.fault_at(bus, xid);
        }
        if len == 0 && board.rest(board.pace.sample) {
            return Ok(());
        }
    }
}

/// Makes lines of what is read, which may end in the middle of one.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
    /// The line that was begun is longer than any that counts: its rest is left out.
    is_too_long: bool,
}

impl Lines {
    /// The faults that the lines tell of which end in these bytes: where on the bus, and which.
    pub fn faults(&mut self, bytes: &[u8]) -> Vec<(Place, u32)> {
        self.add(bytes).iter().filter_map(|line| fault(line)).collect()
    }

    fn add(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = vec![];
        for byte in bytes {
            match byte {
                b'\n' => {
                    if !std::mem::take(&mut self.is_too_long) {
                        lines.push(String::from_utf8_lossy(&self.begun).into_owned());
                    }
                    self.begun.clear();
                }
                _ if self.begun.len() < LINE_LEN_MAX => self.begun.push(*byte),
                _ => self.is_too_long = true,
            }
        }
        lines
    }
}

/// Where on the bus a GPU is: domain, bus and device.
pub type Place = (u32, u32, u32);

/// The place that a text names, as in `0000:1a:00`, with or without the function at its end.
pub(super) fn place(text: &str) -> Option<Place> {
    let mut parts = text.split(':');
    let number = |part: Option<&str>| u32::from_str_radix(part?, 16).ok();
    let (domain, bus) = (number(parts.next())?, number(parts.next())?);
    let device = number(parts.next()?.split('.').next())?;
    parts.next().is_none().then_some((domain, bus, device))
}

/// The fault that a line tells of, as in `4,1234,98765432,-;NVRM: Xid (PCI:0000:1a:00): 79, pid=1, GPU has fallen off`.
fn fault(line: &str) -> Option<(Place, u32)> {
    let (prefix, message) = line.split_once(';')?;
    // Level and facility in one number: the kernel's own is 0, and it gives that to nobody else.
    let written_by: u32 = prefix.split(',').next()?.parse().ok()?;
    if written_by >> 3 != 0 {
        return None;
    }
    let (at, rest) = message.strip_prefix("NVRM: Xid (")?.split_once(')')?;
    let place = place(at.strip_prefix("PCI:").unwrap_or(at))?;
    let number: String =
        rest.strip_prefix(": ")?.chars().take_while(char::is_ascii_digit).take(XID_DIGITS_MAX).collect();
    let xid = number.parse().ok().filter(|xid| *xid <= XID_MAX)?;
    Some((place, xid))
}

/// Digits of a number that are looked at: more than the largest has.
const XID_DIGITS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_with_its_place() {
        let place = Some((0, 0x1a, 0));
        for (line, told) in [
            ("4,1,2,-;NVRM: Xid (PCI:0000:1a:00): 79, pid='<unknown>', name=<unknown>", Some(79)),
            ("4,1,2,-;NVRM: Xid (PCI:0000:1A:00.0): 48, DBE", Some(48)),
            ("3,1,2,c,caller=T1;NVRM: Xid (0000:1a:00): 31", Some(31)),
            // From user space: facility 1.
            ("12,1,2,-;NVRM: Xid (PCI:0000:1a:00): 79", None),
            ("4,1,2,-;somebody says NVRM: Xid (PCI:0000:1a:00): 79", None),
            ("NVRM: Xid (PCI:0000:1a:00): 79", None),
            ("4,1,2,-;NVRM: Xid (PCI:0000:1a:00): 99999999999", None),
            ("4,1,2,-;NVRM: Xid (PCI:0000:1a:00): ", None),
            ("4,1,2,-;NVRM: Xid (PCI:zz:1a:00): 79", None),
            ("4,1,2,-;NVRM: Xid (PCI:0000:1a:00:00): 79", None),
            ("4,1,2,-;NVRM: Xid (PCI:0000:1a", None),
            ("-4,1,2,-;NVRM: Xid (PCI:0000:1a:00): 79", None),
        ] {
            assert_eq!(fault(line), told.and_then(|xid| Some((place?, xid))), "{line}");
        }
        assert_eq!(super::place("00000000:1A:00.0"), place);
    }

    #[test]
    fn lines_are_put_together_and_those_that_are_too_long_left_out() {
        let mut lines = Lines::default();
        assert_eq!(lines.add(b"a\nb"), ["a"]);
        assert_eq!(lines.add(b"c\n"), ["bc"]);
        let long = vec![b'x'; LINE_LEN_MAX + 1];
        assert!(lines.add(&long).is_empty());
        assert!(lines.add(b"\n").is_empty());
        assert_eq!(lines.add(b"d\n\xff\n"), ["d", "\u{fffd}"]);
        assert!(lines.begun.len() <= LINE_LEN_MAX);
    }
}
