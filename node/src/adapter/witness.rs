//! Witnesses: who else keeps checkpoints. What they do not take is counted and told, and holds nobody up.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics::counter;
use purser_actors::metric;
use purser_storage::checkpoint::SignedNote;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::runtime::Runtime;

use crate::config::Witness;

/// Time that a witness' command may take.
const COMMAND_MAX: Duration = Duration::from_secs(10);

/// Checkpoints that may wait for slow witnesses.
const WAITING_MAX: usize = 64;

/// A thread that hands checkpoints to witnesses, in order.
pub struct Witnesses {
    /// None only while it is dropped.
    notes: Option<SyncSender<String>>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Witnesses {
    /// Begins, if there is a witness at all.
    #[must_use]
    pub fn start(config: &Witness) -> Option<Witnesses> {
        if config.file.is_none() && config.command.is_empty() {
            return None;
        }
        let (notes, waiting) = sync_channel(WAITING_MAX);
        let closing = Arc::new(AtomicBool::new(false));
        let (config, seen) = (config.clone(), Arc::clone(&closing));
        let thread = std::thread::Builder::new().name("witness".to_owned());
        match thread.spawn(move || serve(&config, &waiting, &seen)) {
            Ok(thread) => Some(Witnesses { notes: Some(notes), closing, thread: Some(thread) }),
            Err(error) => {
                tracing::warn!(%error, "failed to start the thread that tells witnesses");
                None
            }
        }
    }

    /// Hands a checkpoint over; one that finds no room is counted as not taken.
    pub fn tell(&self, note: &SignedNote) {
        let sent = self.notes.as_ref().map(|notes| notes.try_send(note.to_string()));
        if !matches!(sent, Some(Ok(()))) {
            failed("queue", &io::Error::other("too many checkpoints wait for the witnesses"));
        }
    }
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        // What waits is handed over still, unless a witness does not answer.
        self.closing.store(true, Ordering::Relaxed);
        self.notes.take();
        if let Some(thread) = self.thread.take() {
            // A witness is not worth a failure.
            let _ = thread.join();
        }
    }
}

fn serve(config: &Witness, notes: &Receiver<String>, closing: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    for note in notes {
        let mut taken = true;
        if let Some(file) = &config.file
            && let Err(error) = append(file, &note)
        {
            failed("file", &error);
            taken = false;
        }
        if !config.command.is_empty()
            && let Err(error) = run(&runtime, &config.command, &note)
        {
            failed("command", &error);
            taken = false;
        }
        if !taken && closing.load(Ordering::Relaxed) {
            break;
        }
    }
}

fn failed(witness: &'static str, error: &io::Error) {
    counter!(metric::WITNESS_FAILURES.name, "witness" => witness).increment(1);
    tracing::warn!(witness, %error, "a witness did not take a checkpoint");
}

/// Adds a checkpoint to a file, durable when this returns.
fn append(file: &Path, note: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o644).open(file)?;
    // At once, so that a reader sees whole notes.
    file.write_all(format!("{note}\n").as_bytes())?;
    file.sync_all()
}

/// Runs a command that gets the checkpoint on its standard input; it must end well and in time.
fn run(runtime: &io::Result<Runtime>, command: &[String], note: &str) -> io::Result<()> {
    let runtime = runtime.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    runtime.block_on(async {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let told = async {
            let mut input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
            input.write_all(note.as_bytes()).await?;
            drop(input);
            child.wait().await
        };
        match tokio::time::timeout(COMMAND_MAX, told).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(io::Error::other(format!("the command ended with {status}"))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use purser_storage::checkpoint::{Checkpoint, NoteSigner, Seed};

    use super::*;

    fn note(size: u64) -> SignedNote {
        let seed = Seed::read_from(&mut Cursor::new([3; Seed::LEN])).unwrap();
        let signer = NoteSigner::new("purser/test", &seed).unwrap();
        Checkpoint::new("purser/test", size, [9; 32]).unwrap().sign(&signer).unwrap()
    }

    #[test]
    fn each_witness_gets_every_checkpoint_whatever_the_other_does() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, sent) = (folder.path().join("kept"), folder.path().join("sent"));
        let script = format!("cat >> '{}'; exit 3", sent.display());
        let command = ["/bin/sh", "-c", script.as_str()].map(str::to_owned).to_vec();
        let witnesses = Witnesses::start(&Witness { file: Some(kept.clone()), command }).unwrap();
        witnesses.tell(&note(1));
        drop(witnesses);
        let text = std::fs::read(&kept).unwrap();
        assert_eq!(purser_storage::audit::parse_notes(&text).unwrap(), [note(1)]);
        assert_eq!(std::fs::read_to_string(&sent).unwrap(), note(1).to_string());
        let nowhere = Witness { file: Some(folder.path().join("no/such/folder")), command: Vec::new() };
        let witnesses = Witnesses::start(&nowhere).unwrap();
        witnesses.tell(&note(2));
        assert!(Witnesses::start(&Witness::default()).is_none());
    }
}
