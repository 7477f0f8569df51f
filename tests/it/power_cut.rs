//! The power is cut at hundreds of moments: whatever was acknowledged before is in the journal afterwards.
//!
//! No machine is switched off for it. The journal runs under strace, a model of a disk lives through its system
//! calls, and at each chosen moment the folder is made as a loss of power could have left it, and is opened. A
//! failing run keeps its recording and prints where, and its seed: with both as `PURSER_POWER_RECORDING` and
//! `PURSER_POWER_SEED` it is repeated exactly. `PURSER_POWER_POINTS` sets how many moments there are. A second workload
//! keeps house meanwhile: segments are sealed, compressed, archived and trimmed, snapshots and checkpoints taken.

mod check;
mod kept;
mod recording;
mod workload;

use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use purser_storage::store::Backend;
use purser_tests::power::{Call, Image, Loss, Step, Trace};
use purser_tests::random::{Random, number_from};

use self::check::Failure;
use self::kept::Kind;
use self::recording::{Part, Recording};
use self::workload::Ack;

/// Moments at which the power is cut, unless the environment says otherwise.
const POINTS: usize = 500;
/// The same where the house is kept, for each store.
const POINTS_KEPT: usize = 60;
/// The same where the journal's syncs are taken out.
const POINTS_WITHOUT_SYNCS: usize = 50;
/// Images that are opened at the same time.
const CHECKERS: usize = 3;
/// Failures that are shown, and images that are kept.
const SHOWN: usize = 8;

/// One loss of power.
#[derive(Debug, Clone)]
struct Point {
    /// Which program ran, and how many of its steps had been made.
    part: usize,
    steps: usize,
    loss: Loss,
    seed: u64,
}

/// A loss of power that broke a promise.
struct Casualty {
    point: Point,
    /// The last call that had begun or ended.
    call: String,
    acknowledged: usize,
    image: Image,
    failure: Failure,
}

/// What is to be checked: a folder after a loss of power.
struct Aftermath {
    point: Point,
    call: String,
    acks: Vec<Ack>,
    image: Image,
}

impl Aftermath {
    fn check(self, kind: Kind) -> Option<Casualty> {
        let folder = recording::scratch();
        self.image.save(folder.path()).unwrap();
        let failure = check::survives(folder.path(), &self.acks, kind).err()?;
        let Aftermath { point, call, acks, image } = self;
        Some(Casualty { point, call, acknowledged: acks.len(), image, failure })
    }
}

fn call_of(trace: &Trace, step: Step) -> &Call {
    let (Step::Begins(index) | Step::Ends(index)) = step;
    &trace.calls[index]
}

/// Moments at which it matters whether the power is cut before or after.
#[derive(Default)]
struct Moments {
    /// Around calls that change names: few, but all that an opening of the journal rests on.
    names: Vec<(usize, usize)>,
    /// Around writes, syncs and acknowledgements.
    bytes: Vec<(usize, usize)>,
}

impl Moments {
    fn of(recording: &Recording) -> Moments {
        let disk = recording.disk();
        let mut moments = Moments::default();
        for (part, Part { trace, .. }) in recording.parts.iter().enumerate() {
            for (at, step) in trace.steps.iter().enumerate() {
                let call = call_of(trace, *step);
                let moment = (part, at + 1);
                if recording.ack(trace, *step).is_some() {
                    moments.bytes.push(moment);
                } else if disk.concerns(call) {
                    match call.name.as_str() {
                        "write" | "writev" | "pwrite64" | "pwritev" | "ftruncate" | "fallocate" | "fsync"
                        | "fdatasync" | "sync_file_range" => moments.bytes.push(moment),
                        "mkdir" | "rename" | "unlink" | "rmdir" => moments.names.push(moment),
                        "openat" if call.has_flag(2, "O_CREAT") => moments.names.push(moment),
                        _ => {}
                    }
                }
            }
        }
        moments
    }

    /// Those of the first program after its first acknowledgement.
    fn after_an_acknowledgement(recording: &Recording) -> Moments {
        let Part { trace, .. } = &recording.parts[0];
        let first = trace.steps.iter().position(|step| recording.ack(trace, *step).is_some());
        let first = first.expect("something was acknowledged");
        let Moments { mut names, mut bytes } = Moments::of(recording);
        for moments in [&mut names, &mut bytes] {
            moments.retain(|(part, steps)| *part == 0 && first + 1 < *steps);
        }
        Moments { names, bytes }
    }

    /// Chooses some at random, every fifth around a change of names; half for each kind of loss.
    fn choose(&self, count: usize, random: &mut Random) -> Vec<Point> {
        let mut points: Vec<Point> = (0..count)
            .map(|number| {
                let names = number % 10 < 2 && !self.names.is_empty();
                let moments = if names { &self.names } else { &self.bytes };
                let (part, steps) = moments[random.index(moments.len())];
                let loss = if number % 2 == 0 { Loss::Torn } else { Loss::Unsynced };
                Point { part, steps, loss, seed: random.number() }
            })
            .collect();
        points.sort_by_key(|point| (point.part, point.steps));
        points
    }
}

/// Whether the journal's syncs have their effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syncs {
    Obeyed,
    /// Not those of files after the first acknowledgement, as if they had been forgotten in the journal's code.
    Ignored,
}

/// What came of cutting the power again and again.
struct Outcome {
    casualties: Vec<Casualty>,
    /// All acknowledgements of the recording.
    acknowledged: usize,
    /// Points in the middle of a batch: something was written and not synced.
    unsynced: usize,
}

/// Lives through a recording and cuts the power at each point.
fn cut(recording: &Recording, points: &[Point], syncs: Syncs, kind: Kind) -> Outcome {
    let (sender, receiver) = mpsc::sync_channel::<Aftermath>(CHECKERS);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let check_all = || {
            let mut casualties = Vec::new();
            loop {
                let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(aftermath) = next else { return casualties };
                casualties.extend(aftermath.check(kind));
            }
        };
        let checkers: Vec<_> = (0..CHECKERS).map(|_| scope.spawn(check_all)).collect();
        let (acknowledged, unsynced) = live_through(recording, points, syncs, &sender);
        // Without a sender the checkers end.
        drop(sender);
        let casualties = checkers.into_iter().flat_map(|checker| checker.join().unwrap());
        let mut casualties: Vec<Casualty> = casualties.collect();
        casualties.sort_by_key(|casualty| (casualty.point.part, casualty.point.steps));
        Outcome { casualties, acknowledged, unsynced }
    })
}

/// Hands out what each point leaves; gives the number of acknowledgements, and of points inside a batch.
fn live_through(
    recording: &Recording,
    points: &[Point],
    syncs: Syncs,
    sender: &mpsc::SyncSender<Aftermath>,
) -> (usize, usize) {
    let mut disk = recording.disk();
    let (mut acks, mut unsynced) = (Vec::new(), 0);
    let mut points = points.iter().peekable();
    for (number, Part { trace, left }) in recording.parts.iter().enumerate() {
        for (at, step) in trace.steps.iter().enumerate() {
            disk.step(trace, *step).unwrap_or_else(|refusal| panic!("{refusal}"));
            acks.extend(recording.ack(trace, *step));
            if syncs == Syncs::Ignored && !acks.is_empty() {
                disk.ignore_file_syncs();
            }
            while let Some(point) = points.next_if(|point| (point.part, point.steps) == (number, at + 1)) {
                unsynced += usize::from(disk.has_unsynced_changes());
                let image = Image::after(&disk, point.loss, &mut Random(point.seed));
                let call = call_of(trace, *step).shown();
                let aftermath = Aftermath { point: point.clone(), call, acks: acks.clone(), image };
                sender.send(aftermath).unwrap();
            }
        }
        disk.program_ended(left).unwrap_or_else(|error| panic!("{error}"));
    }
    assert!(points.next().is_none(), "every point is a moment of the recording");
    (acks.len(), unsynced)
}

fn show(casualties: &[Casualty]) -> String {
    let one = |casualty: &Casualty| {
        let Casualty { point, call, acknowledged, failure, image: _ } = casualty;
        format!("{point:?} after {acknowledged} acknowledgements, at {call}:\n    {failure}\n")
    };
    casualties.iter().take(SHOWN).map(one).collect()
}

/// Leaves what a person needs to look into failures.
fn keep(mut recording: Recording, casualties: &[Casualty]) {
    let home = recording.keep();
    println!("repeat with PURSER_POWER_RECORDING={}, which also has the images of failures", home.display());
    for (number, casualty) in casualties.iter().take(SHOWN).enumerate() {
        let folder = home.join(format!("image-{number}"));
        // Of an earlier repetition, if there is one.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        casualty.image.save(&folder).unwrap();
    }
}

/// The run's seed, and a recording made with it.
fn recorded(kind: Kind) -> (u64, Recording) {
    let fresh = || u64::from(std::process::id()) ^ 0x00ff_5eed_0000;
    let seed = number_from("PURSER_POWER_SEED").unwrap_or_else(fresh);
    println!("repeat with PURSER_POWER_SEED={seed}");
    let kept = std::env::var_os("PURSER_POWER_RECORDING");
    (seed, kept.map_or_else(|| Recording::made(seed, kind), |home| Recording::kept(home.into())))
}

fn nothing_acknowledged_is_lost(kind: Kind, points: usize) {
    let (seed, recording) = recorded(kind);
    let points = number_from("PURSER_POWER_POINTS").map_or(points, |points| points.try_into().unwrap());
    let moments = Moments::of(&recording);
    let points = moments.choose(points, &mut Random(seed));
    let Outcome { casualties, acknowledged, unsynced } = cut(&recording, &points, Syncs::Obeyed, kind);
    let (count, failed) = (points.len(), casualties.len());
    let (names, bytes) = (moments.names.len(), moments.bytes.len());
    println!(
        "{}: {count} points of {names} + {bytes} moments, {unsynced} of them inside a batch; \
         {acknowledged} acknowledgements; {failed} failed",
        kind.name()
    );
    assert_eq!(
        acknowledged,
        workload::ACKS * recording::PARTS,
        "every commit of the workload was acknowledged"
    );
    if !casualties.is_empty() {
        keep(recording, &casualties);
        panic!("{failed} of {count} points failed:\n{}", show(&casualties));
    }
    assert!(count / 8 < unsynced, "too few points at which a loss of power matters");
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    nothing_acknowledged_is_lost(Kind::Plain, POINTS);
}

#[test]
fn nothing_is_lost_while_the_house_is_kept_with_sled_behind() {
    nothing_acknowledged_is_lost(Kind::Kept(Backend::Sled), POINTS_KEPT);
}

#[test]
fn nothing_is_lost_while_the_house_is_kept_with_redb_behind() {
    nothing_acknowledged_is_lost(Kind::Kept(Backend::Redb), POINTS_KEPT);
}

#[test]
fn without_the_syncs_the_same_cuts_lose_what_was_acknowledged() {
    losses_are_noticed(Kind::Plain);
}

#[test]
fn without_the_syncs_the_same_cuts_lose_what_was_kept() {
    losses_are_noticed(Kind::Kept(Backend::Redb));
}

fn losses_are_noticed(kind: Kind) {
    let (seed, recording) = recorded(kind);
    let moments = Moments::after_an_acknowledgement(&recording);
    let points = moments.choose(POINTS_WITHOUT_SYNCS, &mut Random(seed));
    let Outcome { casualties, .. } = cut(&recording, &points, Syncs::Ignored, kind);
    for loss in [Loss::Unsynced, Loss::Torn] {
        let failed: Vec<&Casualty> = casualties.iter().filter(|one| one.point.loss == loss).collect();
        let lost = failed.iter().filter(|one| matches!(one.failure, Failure::Lost(_))).count();
        let of = points.iter().filter(|point| point.loss == loss).count();
        println!("{loss:?}: {} of {of} points failed, {lost} of them lost records in silence", failed.len());
        assert!(of / 2 < failed.len(), "missing syncs would not be noticed:\n{}", show(&casualties));
        assert!(0 < lost || loss == Loss::Torn, "nothing acknowledged was lost:\n{}", show(&casualties));
    }
}

/// Both a test by itself and, with a folder named in its environment, the program that is traced.
#[test]
fn the_workload_is_acknowledged() {
    let own = tempfile::tempdir().unwrap();
    let named = |variable: &str| std::env::var_os(variable);
    let folder = named(recording::FOLDER).unwrap_or_else(|| own.path().into());
    let acks = named(recording::ACKS).unwrap_or_else(|| own.path().join("acks").into());
    let (folder, acks) = (Path::new(&folder), Path::new(&acks));
    let seed = number_from(recording::SEED).unwrap_or(1);
    let kind = std::env::var(recording::KIND).map_or(Kind::Plain, |name| Kind::named(&name));
    let before = std::fs::read_to_string(acks).map_or(0, |text| text.lines().count());
    let journal = workload::run(folder, acks, seed, kind);
    let told = std::fs::read_to_string(acks).unwrap().lines().count() - before;
    assert_eq!(told, workload::ACKS);
    if named(recording::KILLED).is_some() {
        kill(Pid::this(), Signal::SIGKILL).unwrap();
    }
    journal.close().unwrap();
}
