//! Logs that are read, followed and shortened while something writes them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use purser_actors::paths::PodPaths;
use purser_actors::port::ContainerKey;
use purser_events::{ContainerName, PodUid};
use purser_node::adapter::logs::{LogReader, LogStart, previous, shorten_all};
use tokio::sync::oneshot;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);

struct Log {
    paths: PodPaths,
    path: PathBuf,
    writer: File,
    _folder: tempfile::TempDir,
}

impl Log {
    /// An empty log below `place`.
    fn below(place: &str) -> Log {
        let folder = tempfile::tempdir_in(place).unwrap();
        let paths = PodPaths::new(folder.path());
        let key = key(1);
        fs::create_dir_all(paths.logs(key.pod, &key.container)).unwrap();
        let path = paths.log(&key);
        let writer = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        Log { paths, path, writer, _folder: folder }
    }

    fn with(text: &str) -> Log {
        let mut log = Log::below("/tmp");
        log.write(text);
        log
    }

    fn write(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).unwrap();
    }

    async fn read(&self, start: LogStart) -> String {
        let mut reader = LogReader::open(self.path.clone(), start, None).await.unwrap();
        let mut held = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            assert!(piece.len() <= 64 << 10);
            held.extend(piece);
        }
        String::from_utf8(held).unwrap()
    }
}

fn key(attempt: u32) -> ContainerKey {
    ContainerKey { pod: PodUid(Uuid::from_u128(7)), container: ContainerName::new("main").unwrap(), attempt }
}

/// Numbered lines of 16 bytes.
fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("{number:015}\n")).collect()
}

#[tokio::test]
async fn the_last_lines_are_found() {
    let log = Log::with("one\ntwo\nthree\n");
    for (count, expected) in [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (3, "one\ntwo\nthree\n")] {
        assert_eq!(log.read(LogStart::LastLines(count)).await, expected, "last {count}");
    }
    assert_eq!(log.read(LogStart::LastLines(u64::MAX)).await, "one\ntwo\nthree\n");
    let log = Log::with("one\ntwo");
    assert_eq!(log.read(LogStart::LastLines(1)).await, "two", "a line without an end is one");
    let log = Log::with("\n\n");
    assert_eq!(log.read(LogStart::LastLines(1)).await, "\n");
    assert_eq!(Log::with("").read(LogStart::LastLines(5)).await, "");
    let log = Log::with(&lines(0..20_000));
    assert_eq!(log.read(LogStart::LastLines(10_000)).await, lines(10_000..20_000));
}

#[tokio::test]
async fn a_shortened_log_keeps_its_older_part() {
    // One file system that can cut the beginning off a file, if /tmp is one, and one that cannot.
    for place in ["/tmp", "/dev/shm"] {
        let mut log = Log::below(place);
        log.write(&lines(0..20_000));
        assert_eq!(shorten_all(&log.paths, 1 << 20).unwrap(), 0, "it is short enough");
        assert_eq!(shorten_all(&log.paths, 100_000).unwrap(), 1);
        assert!(log.path.metadata().unwrap().len() <= 64 << 10);
        log.write(&lines(20_000..20_010));
        assert_eq!(log.read(LogStart::Beginning).await, lines(0..20_010));
        assert_eq!(log.read(LogStart::LastLines(15_000)).await, lines(5_010..20_010));
        log.write(&lines(20_010..40_000));
        assert_eq!(shorten_all(&log.paths, 100_000).unwrap(), 1);
        let held = log.read(LogStart::Beginning).await;
        assert!(held.ends_with(&lines(20_010..40_000)), "the newest output is all there");
        assert_eq!(log.path.parent().unwrap().read_dir().unwrap().count(), 2, "one older part, nothing else");
    }
}

#[tokio::test]
async fn following_sees_every_line_once_across_cuts() {
    for place in ["/tmp", "/dev/shm"] {
        let mut log = Log::below(place);
        let (end, ended) = oneshot::channel::<()>();
        let until = Box::pin(async move { drop(ended.await) });
        let mut reader = LogReader::open(log.path.clone(), LogStart::Beginning, Some(until)).await.unwrap();
        let mut held = Vec::new();
        let mut expected = String::new();
        for step in 0..8_u32 {
            let text = lines(step * 20_000..(step + 1) * 20_000);
            log.write(&text);
            expected += &text;
            // Cut while the reader is in the middle of it.
            held.extend(next(&mut reader).await.expect("there is more"));
            let paths = log.paths.clone();
            let cut = tokio::task::spawn_blocking(move || shorten_all(&paths, 100_000)).await.unwrap();
            assert_eq!(cut.unwrap(), 1);
            while held.len() < expected.len() {
                held.extend(next(&mut reader).await.expect("there is more"));
            }
        }
        log.write("the end\n");
        end.send(()).unwrap();
        while let Some(piece) = next(&mut reader).await {
            held.extend(piece);
        }
        assert!(
            String::from_utf8(held).unwrap() == expected + "the end\n",
            "lines are missing or came twice"
        );
    }
}

async fn next(reader: &mut LogReader) -> Option<Vec<u8>> {
    tokio::time::timeout(PATIENCE, reader.next()).await.expect("the log goes on").unwrap()
}

#[tokio::test]
async fn what_a_container_empties_is_read_anew() {
    let mut log = Log::with("first\n");
    let (end, ended) = oneshot::channel::<()>();
    let until = Box::pin(async move { drop(ended.await) });
    let mut reader = LogReader::open(log.path.clone(), LogStart::Beginning, Some(until)).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), b"first\n");
    log.writer.set_len(0).unwrap();
    log.write("2nd\n");
    assert_eq!(reader.next().await.unwrap().unwrap(), b"2nd\n");
    end.send(()).unwrap();
    assert_eq!(reader.next().await.unwrap(), None);
}

#[tokio::test]
async fn links_and_absent_logs_are_not_read() {
    let log = Log::with("text");
    let link = log.path.with_file_name("2.log");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    assert!(LogReader::open(link, LogStart::Beginning, None).await.is_err());
    let absent = log.path.with_file_name("3.log");
    let error = LogReader::open(absent, LogStart::Beginning, None).await.err().expect("it is not there");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(shorten_all(&log.paths, 1).unwrap(), 1, "links are left alone");
}

#[test]
fn the_first_try_has_none_before_it() {
    assert_eq!(previous(&key(1)), None);
    assert_eq!(previous(&key(3)), Some(key(2)));
}
