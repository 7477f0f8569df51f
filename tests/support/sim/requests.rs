//! Those who ask the node for this and that, and remember what they were told.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use purser_actors::Service;
use purser_actors::port::ExecIo;
use purser_actors::service::{Accepted, CommandKey, Request, ServiceError};
use purser_events::ledger::{GpuClaim, GpuUuid, WhenFull};
use purser_events::pod::PodSpec;
use purser_events::pod::spec::{ProbeCheck, RestartPolicy};
use purser_events::{Bytes, CommandId, MilliCpu, PodId, Principal, Seq};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::gpus;
use super::turns::{Asked, Turns};
use crate::gpus::ScriptedGpus;
use crate::random::Random;
use crate::specs;

/// Names that requests fight over.
const NAMES: u64 = 5;

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wish {
    /// To run a pod.
    Apply(Box<PodSpec>),
    /// To stop it.
    Stop(PodId),
    /// To start it again.
    Start(PodId),
    /// To remove it.
    Delete(PodId),
    /// To run a command in it.
    Exec(PodId),
    /// To give out nothing of a GPU.
    CordonGpu(GpuUuid),
    /// To give it out again.
    UncordonGpu(GpuUuid),
    /// To take no more pods.
    Cordon,
    /// To take pods again.
    Uncordon,
}

/// A request with its idempotency key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    /// What for.
    pub(super) wish: Wish,
    /// What makes a retry recognisable.
    pub(super) key: CommandKey,
}

/// What somebody was told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    /// The request.
    pub(super) ask: Ask,
    /// The answer.
    pub(super) accepted: Accepted,
    /// Whether it was asked again only to see whether the first answer is still known.
    pub(super) again: Option<Accepted>,
}

/// What came of requests so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Replies(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    told: Vec<Told>,
    seqs: Vec<Seq>,
    refused: u64,
    /// With the record that was told of first, if there is one.
    strange: Vec<(Option<Seq>, String)>,
}

impl Replies {
    /// Takes what was answered since the last time.
    pub(super) fn take_told(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.borrow_mut().told)
    }

    /// Takes the records that answers without a pod spoke of.
    pub(super) fn take_seqs(&self) -> Vec<Seq> {
        std::mem::take(&mut self.0.borrow_mut().seqs)
    }

    /// Answers that must not be given, unless the record that was told of first is trimmed.
    pub(super) fn strange(&self) -> Vec<(Option<Seq>, String)> {
        self.0.borrow().strange.clone()
    }

    /// Takes note of an answer that speaks of a record alone.
    pub(super) fn note(&self, seq: Seq) {
        self.0.borrow_mut().seqs.push(seq);
    }

    /// Takes note of a refusal.
    pub(super) fn refuse(&self) {
        self.0.borrow_mut().refused += 1;
    }

    /// Takes note of an answer that must not be given.
    pub(super) fn wonder(&self, told: String) {
        self.0.borrow_mut().strange.push((None, told));
    }

    /// Requests that were refused.
    pub(super) fn refused(&self) -> u64 {
        self.0.borrow().refused
    }
}

impl Ask {
    /// A new request of one of many kinds.
    pub(super) fn any(random: &mut Random) -> Ask {
        let id = pod_id(random.below(NAMES));
        let wish = match random.below(20) {
            0..=9 => Wish::Apply(Box::new(spec(&id, random))),
            10..=11 => Wish::Stop(id),
            12..=13 => Wish::Start(id),
            14..=15 => Wish::Delete(id),
            16 => Wish::Exec(id),
            17 if random.percent(30) => Wish::CordonGpu(gpu(random)),
            17 => Wish::UncordonGpu(gpu(random)),
            18 => Wish::Cordon,
            _ => Wish::Uncordon,
        };
        Ask::new(wish, random)
    }

    /// A request for this.
    pub(super) fn new(wish: Wish, random: &mut Random) -> Ask {
        let id = CommandId(Uuid::from_u64_pair(random.number(), random.number()));
        let fingerprint = Sha256::digest(format!("{wish:?}")).into();
        Ask { wish, key: CommandKey { id, fingerprint } }
    }

    /// Asks, and notes the answer unless the node dies before anybody hears it. `first` is the answer that was given
    /// to the same request before.
    pub(super) async fn put(self, service: Service, first: Option<Accepted>, turns: Turns, replies: Replies) {
        let correlation = self.key.id.0;
        let by = Request { principal: Principal::new("uid:1000"), correlation, command: Some(self.key) };
        let answer = match &self.wish {
            Wish::Apply(spec) => service.apply(PodSpec::clone(spec), by).await.map(Some),
            Wish::Stop(id) => service.stop(id, Some(5), by).await.map(Some),
            Wish::Start(id) => service.start(id, by).await.map(Some),
            Wish::Delete(id) => service.delete(id, Some(5), by).await.map(Some),
            Wish::Exec(id) => {
                let (output, _) = mpsc::channel(1);
                let io = ExecIo { stdin: None, output };
                service.exec(id, None, vec!["true".to_owned()], io, by).await.map(|_| None)
            }
            Wish::Cordon => {
                let seq = service.cordon(Some("the simulator's wish".to_owned()), by).await;
                seq.map(|seq| self.note_seq(&replies, seq))
            }
            Wish::CordonGpu(gpu) => {
                let seq = service.cordon_gpu(gpu, Some("the simulator's wish".to_owned()), by).await;
                seq.map(|seq| self.note_seq(&replies, seq))
            }
            Wish::UncordonGpu(gpu) => {
                service.uncordon_gpu(gpu, by).await.map(|seq| self.note_seq(&replies, seq))
            }
            Wish::Uncordon => service.uncordon(by).await.map(|seq| self.note_seq(&replies, seq)),
        };
        // On its way to who asked; it may never come.
        let _ = turns.take(Asked::Reply).await;
        let mut replies = replies.0.borrow_mut();
        match (answer, first) {
            (Ok(Some(accepted)), None) => {
                replies.told.push(Told { ask: self, accepted, again: None });
            }
            (Ok(Some(accepted)), Some(first)) => {
                replies.told.push(Told { ask: self, accepted: first, again: Some(accepted) });
            }
            (Ok(None), _) => {}
            (Err(ServiceError::Busy { .. } | ServiceError::Stopping), _) => replies.refused += 1,
            (Err(error), Some(first)) => {
                let told = format!("{:?}: first {first:?}, then {error}", self.wish);
                replies.strange.push((Some(first.seq), told));
            }
            (Err(error), None) => match error {
                ServiceError::Pod(_)
                | ServiceError::Node(_)
                | ServiceError::Gpu(_)
                | ServiceError::AlreadyRun
                | ServiceError::Exec(_) => replies.refused += 1,
                error => replies.strange.push((None, format!("{:?}: {error}", self.wish))),
            },
        }
    }

    fn note_seq(&self, replies: &Replies, seq: Seq) -> Option<Accepted> {
        replies.0.borrow_mut().seqs.push(seq);
        None
    }
}

fn gpu(random: &mut Random) -> GpuUuid {
    ScriptedGpus::uuid(u32::try_from(random.below(u64::from(gpus::COUNT))).expect("a small number"))
}

/// A whole GPU, or a part of one, which others may share.
fn gpu_claim(random: &mut Random) -> GpuClaim {
    let share = random.percent(60).then_some(40);
    GpuClaim { count: 1, share, memory: None, uuids: BTreeSet::new(), tflops: None }
}

fn pod_id(number: u64) -> PodId {
    PodId::new("default", format!("pod-{number}")).expect("it is well formed")
}

/// One of few specifications for each name, so that some requests ask for what is there already.
fn spec(id: &PodId, random: &mut Random) -> PodSpec {
    let kind = random.below(3);
    let mut main = specs::container("main", &["/bin/work"]);
    if kind == 1 {
        main.readiness = Some(specs::probe());
        let mut liveness = specs::probe();
        liveness.check = ProbeCheck::TcpSocket { host: None, port: 80 };
        main.liveness = Some(liveness);
    }
    let mut containers = vec![main];
    if kind == 2 {
        containers.push(specs::container("side", &["/bin/help"]));
    }
    let mut spec = specs::pod(id.name(), containers);
    spec.restart_policy =
        [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never][random.index(3)];
    spec.termination_grace_s = 5;
    claim(&mut spec, random);
    if random.percent(30) {
        spec.init_containers.push(specs::container("prepare", &["/bin/prepare"]));
    }
    spec
}

/// Asks for something of the machine, so that not all find room at once.
fn claim(spec: &mut PodSpec, random: &mut Random) {
    let main = &mut spec.containers[0].resources;
    match random.below(5) {
        4 => spec.claims.gpu = Some(gpu_claim(random)),
        0 => main.cpu_request = Some(MilliCpu(2_000)),
        1 => main.memory_request = Some(Bytes(3 << 29)),
        2 => {
            main.cpu_request = Some(MilliCpu(1_000));
            spec.claims.exclusive_cpus = true;
        }
        _ => spec.claims.ports = 2,
    }
    spec.claims.priority = [0, 0, 10][random.index(3)];
    spec.claims.when_full = [WhenFull::AsPolicy, WhenFull::Wait, WhenFull::Refuse][random.index(3)];
}
