//! Durable appends to a journal with checkpoints: 64 committers at once, and one with batches, beside files and stores
//! that get frames ready made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use purser_events::Seq;
use purser_storage::Journal;
use purser_tests::bench::{Bound, Rates, Times};
use purser_tests::sealed;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::event::{PAYLOAD_LEN, POOL_LEN};
use crate::group::{Group, Request, Sink};
use crate::ours::{self, COMMITTERS, Committer, runtime};
use crate::place::Place;
use crate::reference::{REFERENCES, Reference, STORES_FROM};
use crate::rounds;

/// How long one contender's turn is.
const ROUND: Duration = Duration::from_millis(1_200);

/// Who commits, and how many events at once.
#[derive(Debug, Clone, Copy)]
struct Shape {
    committers: usize,
    batch: usize,
    /// Of the journal's rate to that of a raw file.
    wanted: Bound,
}

const SHAPES: [Shape; 4] = [
    Shape { committers: COMMITTERS, batch: 1, wanted: Bound::AtLeast(1.2) },
    Shape { committers: 1, batch: 1, wanted: Bound::AtLeast(0.9) },
    Shape { committers: 1, batch: 16, wanted: Bound::AtLeast(0.9) },
    Shape { committers: 1, batch: 256, wanted: Bound::AtLeast(0.9) },
];

/// What one turn came to.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) events: u64,
    pub(crate) took: Duration,
    /// How long each commit took.
    commits: Times,
}

impl Turn {
    fn add(&mut self, commits: Vec<Duration>, batch: usize) {
        self.events += (commits.len() * batch) as u64;
        self.commits.extend(commits);
    }
}

pub(crate) fn run(place: &Place) {
    let frames = Arc::new(frames(place));
    let bytes: usize = frames.iter().map(Vec::len).sum();
    println!(
        "append: durable, payloads of {PAYLOAD_LEN} bytes in frames of {}, journal with a checkpoint every {} events, \
         {} rounds of {:.1} s in turn",
        bytes / frames.len(),
        sealed::checkpoint_events(),
        rounds(),
        ROUND.as_secs_f64()
    );
    for shape in SHAPES {
        let contenders = REFERENCES.iter().map(Some).chain([None]);
        let mut contenders: Vec<_> = contenders.map(|contender| (contender, Figures::default())).collect();
        for _ in 0..rounds() {
            for (reference, figures) in &mut contenders {
                take_turn(place, *reference, shape, &frames, figures);
            }
        }
        print(shape, &contenders);
    }
}

/// One turn of a reference, or of the journal, with a store that is new and gone afterwards.
fn take_turn(
    place: &Place,
    reference: Option<&Reference>,
    shape: Shape,
    frames: &Arc<Vec<Vec<u8>>>,
    figures: &mut Figures,
) {
    let folder = place.empty("append");
    let path = folder.join("data");
    let mut contender = match reference {
        Some((_, open)) => Contender::reference(open(&path), shape, frames),
        None => Contender::Journal(Box::new(OpenJournal::new(&path, shape.committers, Seals::On))),
    };
    let turn = contender.turn(shape);
    let since = Instant::now();
    drop(contender);
    figures.add(&turn, since.elapsed());
    place.remove(&folder);
}

fn print(shape: Shape, contenders: &[(Option<&Reference>, Figures)]) {
    match shape {
        Shape { committers: 1, batch, .. } => println!("  one committer, batches of {batch}"),
        Shape { committers, .. } => println!("  {committers} committers, one event each"),
    }
    let raw = contenders[0].1.rates.median();
    for (reference, Figures { rates, commits, closings }) in contenders {
        let name = reference.map_or("journal", |(name, _)| *name);
        let ms = |times: &Times| times.median().as_secs_f64() * 1_000.0;
        let (line, ratio) = (rates.line(), rates.median() / raw);
        let (p50_ms, close_ms) = (ms(commits), ms(closings));
        println!(
            "    {name:30} {line}   {ratio:5.2} x   p50 of a commit {p50_ms:7.3} ms   closed in {close_ms:6.1} ms"
        );
    }
    print_verdicts(shape, contenders, raw);
}

/// How the journal stands to the raw file, and to each of the stores.
fn print_verdicts(shape: Shape, contenders: &[(Option<&Reference>, Figures)], raw: f64) {
    let (_, journal) = contenders.last().expect("the journal is the last");
    let journal = journal.rates.median();
    let print = |name: &str, ratio: f64, wanted: Bound| {
        println!("      journal / {name:30} {ratio:5.2}   {}", wanted.verdict(ratio, ""));
    };
    print(REFERENCES[0].0, journal / raw, shape.wanted);
    for (reference, figures) in &contenders[STORES_FROM..contenders.len() - 1] {
        let (name, _) = reference.expect("only the last is the journal");
        print(name, journal / figures.rates.median(), Bound::Above(1.0));
    }
}

#[derive(Debug, Default)]
struct Figures {
    rates: Rates,
    /// The median of each turn.
    commits: Times,
    /// What was left for later shows when the store is closed.
    closings: Times,
}

impl Figures {
    fn add(&mut self, turn: &Turn, closing: Duration) {
        self.rates.add(turn.events, turn.took);
        self.commits.add(turn.commits.median());
        self.closings.add(closing);
    }
}

/// Real frames of the journal, to be written by the references.
fn frames(place: &Place) -> Vec<Vec<u8>> {
    let dir = place.empty("frames");
    let (journal, _) = ours::open(&dir);
    ours::fill(&journal, POOL_LEN as u64);
    let records = journal.read(Seq(1), POOL_LEN).expect("the journal can be read");
    let frames: Vec<_> = records.iter().map(|record| record.as_bytes().to_vec()).collect();
    assert_eq!(frames.len(), POOL_LEN);
    journal.close().expect("the journal can be closed");
    place.remove(&dir);
    frames
}

/// Whether a journal gets checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seals {
    On,
    Off,
}

/// The journal and those who append to it.
pub(crate) struct OpenJournal {
    runtime: Runtime,
    journal: Option<Journal>,
    committers: Vec<Committer>,
    seals: Seals,
}

impl OpenJournal {
    pub(crate) fn new(dir: &std::path::Path, committers: usize, seals: Seals) -> OpenJournal {
        let (journal, _) = ours::open(dir);
        if seals == Seals::On {
            ours::seal(&journal, dir);
        }
        let committers = Committer::many(&journal, committers);
        OpenJournal { runtime: runtime(), journal: Some(journal), committers, seals }
    }

    /// Appends for one turn, which ends with the last checkpoint that is due.
    pub(crate) fn turn(&mut self, batch: usize) -> Turn {
        let mut turn = Turn::default();
        let since = Instant::now();
        let end = since + ROUND;
        if let [committer] = self.committers.as_mut_slice() {
            let commits = self.runtime.block_on(commit_until(end, committer, batch));
            turn.add(commits, batch);
        } else {
            let mut tasks = JoinSet::new();
            for mut committer in self.committers.drain(..) {
                let task = async move { (commit_until(end, &mut committer, batch).await, committer) };
                tasks.spawn_on(task, self.runtime.handle());
            }
            for (commits, committer) in self.runtime.block_on(tasks.join_all()) {
                turn.add(commits, batch);
                self.committers.push(committer);
            }
        }
        if let (Seals::On, Some(journal)) = (self.seals, &self.journal) {
            self.runtime.block_on(sealed::settled(journal));
        }
        turn.took = since.elapsed();
        turn
    }
}

impl Drop for OpenJournal {
    fn drop(&mut self) {
        self.committers.clear();
        let closed = self.journal.take().map(Journal::close);
        assert!(std::thread::panicking() || matches!(closed, Some(Ok(()))), "the journal can be closed");
    }
}

async fn commit_until(end: Instant, committer: &mut Committer, batch: usize) -> Vec<Duration> {
    let mut commits = Vec::new();
    let mut since = Instant::now();
    while since < end {
        drop(committer.commit(batch).await);
        let now = Instant::now();
        commits.push(now - since);
        since = now;
    }
    commits
}

enum Contender {
    Journal(Box<OpenJournal>),
    /// Called by the one who commits.
    Direct {
        sink: Box<dyn Sink>,
        frames: Arc<Vec<Vec<u8>>>,
    },
    /// Behind a thread that commits for all.
    Grouped {
        runtime: Runtime,
        group: Group,
        frames: Arc<Vec<Vec<u8>>>,
    },
}

impl Contender {
    fn reference(sink: Box<dyn Sink>, shape: Shape, frames: &Arc<Vec<Vec<u8>>>) -> Contender {
        let frames = Arc::clone(frames);
        if shape.committers == 1 {
            Contender::Direct { sink, frames }
        } else {
            Contender::Grouped { runtime: runtime(), group: Group::before(sink), frames }
        }
    }

    fn turn(&mut self, shape: Shape) -> Turn {
        match self {
            Contender::Journal(journal) => journal.turn(shape.batch),
            Contender::Direct { sink, frames } => direct_turn(&mut **sink, frames, shape.batch),
            Contender::Grouped { runtime, group, frames } => {
                grouped_turn(runtime, group, frames, shape.committers)
            }
        }
    }
}

fn direct_turn(sink: &mut dyn Sink, frames: &[Vec<u8>], batch: usize) -> Turn {
    let mut commits = Vec::new();
    let begun = Instant::now();
    let (end, mut since) = (begun + ROUND, begun);
    let mut batches = frames.chunks_exact(batch).cycle();
    while since < end {
        sink.commit(batches.next().expect("a batch is not longer than all frames"));
        let now = Instant::now();
        commits.push(now - since);
        since = now;
    }
    let mut turn = Turn { took: begun.elapsed(), ..Turn::default() };
    turn.add(commits, batch);
    turn
}

fn grouped_turn(runtime: &Runtime, group: &Group, frames: &Arc<Vec<Vec<u8>>>, committers: usize) -> Turn {
    let mut turn = Turn::default();
    let begun = Instant::now();
    let end = begun + ROUND;
    let mut tasks = JoinSet::new();
    for number in 0..committers {
        let (requests, frames) = (group.requests(), Arc::clone(frames));
        let task = async move {
            let mut commits = Vec::new();
            let mut since = Instant::now();
            let mut next = frames.iter().cycle().skip(number);
            while since < end {
                let (reply, done) = oneshot::channel();
                let frame = next.next().expect("there are frames").clone();
                requests
                    .try_send(Request { frame, reply })
                    .expect("the queue is longer than committers are many");
                done.await.expect("every request is answered");
                let now = Instant::now();
                commits.push(now - since);
                since = now;
            }
            commits
        };
        tasks.spawn_on(task, runtime.handle());
    }
    for commits in runtime.block_on(tasks.join_all()) {
        turn.add(commits, 1);
    }
    turn.took = begun.elapsed();
    turn
}
