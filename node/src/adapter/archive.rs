//! Archives of journal segments: a folder, or a command of the operator's.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use purser_actors::port::archive::{Archive, ArchiveFailure};
use purser_events::causes;
use purser_storage::disk::SystemDisk;
use purser_storage::retention::{SegmentInfo, copy_to_folder};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// What stands in a command for the segment's file.
pub const FILE_MARK: &str = "{}";

/// Bytes of a failed command's words that are told.
const WORDS_LEN_MAX: u64 = 1_024;

/// A folder, as on another disk or a mounted share.
#[derive(Debug, Clone)]
pub struct FolderArchive {
    /// Made if it is absent.
    pub folder: PathBuf,
}

#[async_trait]
impl Archive for FolderArchive {
    async fn keep(&self, segment: &SegmentInfo) -> Result<(), ArchiveFailure> {
        let (from, folder) = (segment.path.clone(), self.folder.clone());
        let copied = tokio::task::spawn_blocking(move || copy_to_folder(&SystemDisk, &from, &folder)).await;
        copied.map_err(ArchiveFailure::new)?.map_err(|error| ArchiveFailure::new(causes::told(&error)))?;
        Ok(())
    }
}

/// A program that is run once for each segment and says by exit code 0 that it has it.
#[derive(Debug, Clone)]
pub struct CommandArchive {
    /// The program and its arguments; [`FILE_MARK`] stands for the segment's file.
    pub argv: Vec<String>,
    /// Time after which it is killed.
    pub timeout: Duration,
}

#[async_trait]
impl Archive for CommandArchive {
    async fn keep(&self, segment: &SegmentInfo) -> Result<(), ArchiveFailure> {
        let file = segment.path.to_string_lossy();
        let mut argv = self.argv.iter().map(|word| word.replace(FILE_MARK, &file));
        let program = argv.next().unwrap_or_default();
        let mut child = Command::new(&program)
            .args(argv)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| ArchiveFailure::new(format!("failed to run `{program}`: {error}")))?;
        let words = child.stderr.take();
        let ended = tokio::time::timeout(self.timeout, async {
            let mut told = Vec::new();
            if let Some(mut words) = words {
                let _ = (&mut words).take(WORDS_LEN_MAX).read_to_end(&mut told).await;
                // Read on, so that a program with much to say does not wait for ever.
                let _ = tokio::io::copy(&mut words, &mut tokio::io::sink()).await;
            }
            (child.wait().await, told)
        });
        match ended.await {
            Ok((Ok(status), _)) if status.success() => Ok(()),
            Ok((Ok(status), told)) => {
                let told = String::from_utf8_lossy(&told);
                Err(ArchiveFailure::new(format!("`{program}` ended with {status}: {}", told.trim())))
            }
            Ok((Err(error), _)) => Err(ArchiveFailure::new(error)),
            Err(_) => Err(ArchiveFailure::new(format!(
                "`{program}` did not end within {} ms",
                self.timeout.as_millis()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use purser_events::{Seq, Timestamp};
    use purser_storage::Head;

    use super::*;

    fn segment(path: PathBuf) -> SegmentInfo {
        SegmentInfo {
            first: Seq(1),
            last: Head { seq: Seq(2), hash: [0; 32] },
            content: [0; 32],
            bytes: 4,
            first_time: Timestamp(0),
            last_time: Timestamp(0),
            compressed: true,
            archived: false,
            path,
        }
    }

    fn command(words: &[&str]) -> CommandArchive {
        let argv = words.iter().map(|word| (*word).to_owned()).collect();
        CommandArchive { argv, timeout: Duration::from_secs(60) }
    }

    #[tokio::test]
    async fn a_command_gets_the_file_and_takes_it_by_its_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        // A name that a shell would take apart.
        let file = dir.path().join("a b;$(exit 3).seg.zst");
        std::fs::write(&file, "data").unwrap();
        let taken = dir.path().join("taken");
        let to = taken.to_str().unwrap();
        command(&["cp", "{}", to]).keep(&segment(file.clone())).await.unwrap();
        assert_eq!(std::fs::read(&taken).unwrap(), b"data");
        let refused = command(&["sh", "-c", "echo full >&2; exit 9"]).keep(&segment(file.clone())).await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("exit status: 9") && text.contains("full"), "{text}");
        let text = command(&["/nowhere/prog", "{}"]).keep(&segment(file)).await.unwrap_err().to_string();
        assert!(text.contains("failed to run `/nowhere/prog`"), "{text}");
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_killed() {
        let archive = CommandArchive { timeout: Duration::from_millis(50), ..command(&["sleep", "1000"]) };
        let text = archive.keep(&segment(PathBuf::from("x"))).await.unwrap_err().to_string();
        assert!(text.contains("did not end within 50 ms"), "{text}");
    }
}
