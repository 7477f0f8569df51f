//! The history of pods: what became of each incarnation, in a few words. One incarnation at a time: there may be more
//! of them than fit in memory.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::ids::{PodUid, Seq, StreamKind};
use crate::names::{ContainerName, PodId};
use crate::pod::event::{
    Admitted, ContainerCreateFailed, ContainerExited, ExitReason, FailureReason, PodEvent, StopCause,
};
use crate::pod::spec::{ContainerSpec, Role};
use crate::pod::{counts_as_exit, start_error};
use crate::record::{Header, Principal, Record};
use crate::units::Timestamp;

/// Longest text that is kept of an image, in bytes.
const IMAGE_LEN_MAX: usize = 256;

/// Longest text that is kept of a program, in bytes.
const PROGRAM_LEN_MAX: usize = 128;

/// What became of one incarnation of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Incarnation {
    /// Which one it is.
    pub uid: PodUid,
    /// What it is called; none if the record of its admission is not known.
    pub id: Option<PodId>,
    /// When it was admitted.
    pub admitted_at: Option<Timestamp>,
    /// On whose behalf it was admitted.
    pub admitted_by: Option<Principal>,
    /// When every container of its last run had been started.
    pub started_at: Option<Timestamp>,
    /// When nothing of it ran any more.
    pub ended_at: Option<Timestamp>,
    /// On whose behalf it was last asked to stop or to go.
    pub ended_by: Option<Principal>,
    /// The word for its state: `Terminated` once it is gone.
    pub phase: Cow<'static, str>,
    /// How it came to rest last.
    pub result: Option<EndResult>,
    /// Runs so far.
    pub runs: u32,
    /// Its containers in the order of the manifest, init containers first.
    pub containers: Vec<PastContainer>,
    /// The first record that is known of it.
    pub first: Seq,
    /// The last record that is known of it.
    pub last: Seq,
    /// Records of it that could not be read.
    pub unreadable: u32,
}

/// How a pod came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndResult {
    /// Every container ended with success.
    Completed,
    /// Someone asked for it to stop.
    Stopped,
    /// A container failed for good.
    Failed,
    /// It was removed before it came to rest by itself.
    Removed,
}

impl EndResult {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            EndResult::Completed => "Completed",
            EndResult::Stopped => "Stopped",
            EndResult::Failed => "Failed",
            EndResult::Removed => "Removed",
        }
    }
}

/// What became of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastContainer {
    /// Its name.
    pub name: ContainerName,
    /// Whether it prepares the pod or is what the pod is for; not known without the pod's admission.
    pub role: Option<Role>,
    /// The image of the manifest, shortened.
    pub image: Option<String>,
    /// The first word of its command, shortened; arguments may hold secrets.
    pub program: Option<String>,
    /// Times that it was started again after it had ended.
    pub restarts: u32,
    /// How it ended last.
    pub last_exit: Option<PastExit>,
    /// Whether it has ended and was not started since.
    down: bool,
    /// Whether its next start is another one after an end.
    again: bool,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastExit {
    /// Exit code.
    pub code: u8,
    /// What it means.
    pub reason: ExitReason,
    /// When it ended.
    pub at: Timestamp,
}

impl Incarnation {
    /// What it is after a record, given what it was before, if anything is known; none if the record is not a pod's.
    #[must_use]
    pub fn follow(known: Option<Incarnation>, record: &Record) -> Option<Incarnation> {
        let Event::Pod(event) = &record.event else { return None };
        let mut pod = Incarnation::noted(known, &record.header)?;
        pod.apply(event, &record.header);
        Some(pod)
    }

    /// What it is after a record that cannot be read; none if the record is not a pod's.
    #[must_use]
    pub fn pass_over(known: Option<Incarnation>, header: &Header) -> Option<Incarnation> {
        let is_first = known.is_none() && header.version.0 == 1;
        let mut pod = Incarnation::noted(known, header)?;
        pod.unreadable = pod.unreadable.saturating_add(1);
        if is_first {
            // Only an admission begins a pod's stream.
            pod.admitted_at = Some(header.time);
            pod.admitted_by = Some(header.origin.principal.clone());
        }
        Some(pod)
    }

    /// Whether it is gone: no record of it comes any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == "Terminated"
    }

    /// Restarts of its containers in all.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.containers.iter().fold(0, |sum, container| sum.saturating_add(container.restarts))
    }

    /// The exit that was last of all, with the container's name.
    #[must_use]
    pub fn last_exit(&self) -> Option<(&ContainerName, &PastExit)> {
        let exits = self
            .containers
            .iter()
            .filter_map(|container| Some((&container.name, container.last_exit.as_ref()?)));
        exits.max_by_key(|(_, exit)| exit.at)
    }

    fn noted(known: Option<Incarnation>, header: &Header) -> Option<Incarnation> {
        if header.stream.kind != StreamKind::Pod {
            return None;
        }
        let mut pod = known.unwrap_or_else(|| Incarnation {
            uid: PodUid(header.stream.id),
            id: None,
            admitted_at: None,
            admitted_by: None,
            started_at: None,
            ended_at: None,
            ended_by: None,
            phase: Cow::Borrowed("Unknown"),
            result: None,
            runs: 0,
            containers: Vec::new(),
            first: header.seq,
            last: header.seq,
            unreadable: 0,
        });
        pod.last = header.seq;
        Some(pod)
    }

    fn apply(&mut self, event: &PodEvent, header: &Header) {
        use PodEvent as E;
        let by = || Some(header.origin.principal.clone());
        match event {
            E::Admitted(admitted) => self.admit(admitted, header),
            E::ProvisioningStarted(started) => {
                self.enter("Provisioning");
                self.runs = started.run;
                self.started_at = None;
                self.containers.iter_mut().for_each(PastContainer::begin);
            }
            E::ContainerCreateRequested(requested) => self.container(&requested.container).create(),
            E::ContainerCreateFailed(failed) => self.container(&failed.container).fail(failed),
            E::ContainerExited(exited) => self.container(&exited.container).exit(exited),
            E::RestartScheduled(scheduled) => {
                let container = self.container(&scheduled.container);
                container.again = container.down;
            }
            E::Started(started) => {
                self.enter("Running");
                self.started_at = Some(started.at);
            }
            E::StopRequested(_) => {
                self.enter("Stopping");
                self.ended_by = by();
            }
            E::Stopped(stopped) => {
                let result = match stopped.cause {
                    StopCause::Completed => EndResult::Completed,
                    StopCause::Requested => EndResult::Stopped,
                };
                self.rest("Stopped", result, stopped.at);
            }
            E::Failed(failed) => match failed.reason {
                FailureReason::InitContainer { .. } | FailureReason::Container { .. } => {
                    self.rest("Failed", EndResult::Failed, failed.at);
                }
            },
            E::StartRequested(_) => {
                self.enter("Pending");
                (self.ended_at, self.ended_by, self.result) = (None, None, None);
            }
            E::TerminationRequested(_) => {
                self.enter("Terminating");
                self.ended_by = by();
            }
            E::Terminated(gone) => {
                let result = self.result.unwrap_or(EndResult::Removed);
                self.rest("Terminated", result, self.ended_at.unwrap_or(gone.at));
            }
            E::SetupRequested(_)
            | E::SetupCompleted(_)
            | E::SetupFailed(_)
            | E::ContainerStarted(_)
            | E::ReadinessChanged(_)
            | E::StartupPassed(_)
            | E::ProbeFailed(_)
            | E::ContainerStopRequested(_)
            | E::ContainerKillRequested(_)
            | E::ContainerRemoved(_)
            | E::OutOfMemory(_)
            | E::CleanupRequested(_)
            | E::ExecRequested(_)
            | E::ExecFinished(_)
            | E::Violation(_)
            | E::ResourcesAwaited(_)
            | E::ResourcesGranted(_)
            | E::ResizeRequested(_)
            | E::Resized(_)
            | E::ResizeFailed(_) => {}
        }
    }

    fn admit(&mut self, admitted: &Admitted, header: &Header) {
        self.enter("Pending");
        self.id = Some(admitted.spec.id.clone());
        self.admitted_at = Some(header.time);
        self.admitted_by = Some(header.origin.principal.clone());
        let container = |(role, spec): (Role, &ContainerSpec)| PastContainer {
            role: Some(role),
            image: spec.image.as_deref().map(|image| shortened(image, IMAGE_LEN_MAX)),
            program: spec.command.first().map(|word| shortened(word, PROGRAM_LEN_MAX)),
            ..PastContainer::unknown(spec.name.clone())
        };
        self.containers = admitted.spec.all_containers().map(container).collect();
    }

    fn enter(&mut self, phase: &'static str) {
        self.phase = Cow::Borrowed(phase);
    }

    fn rest(&mut self, phase: &'static str, result: EndResult, at: Timestamp) {
        self.enter(phase);
        (self.result, self.ended_at) = (Some(result), Some(at));
    }

    /// The container of that name; one of which nothing is known but that, if the admission is not known.
    fn container(&mut self, name: &ContainerName) -> &mut PastContainer {
        let found = self.containers.iter().position(|container| container.name == *name);
        let at = found.unwrap_or_else(|| {
            self.containers.push(PastContainer::unknown(name.clone()));
            self.containers.len() - 1
        });
        &mut self.containers[at]
    }
}

impl PastContainer {
    fn unknown(name: ContainerName) -> PastContainer {
        PastContainer {
            name,
            role: None,
            image: None,
            program: None,
            restarts: 0,
            last_exit: None,
            down: false,
            again: false,
        }
    }

    /// A new run begins: what comes first in it is no restart.
    fn begin(&mut self) {
        (self.down, self.again) = (false, false);
    }

    fn create(&mut self) {
        self.restarts = self.restarts.saturating_add(u32::from(self.again));
        self.begin();
    }

    fn fail(&mut self, failed: &ContainerCreateFailed) {
        if counts_as_exit(failed.class) {
            let exit = start_error(failed.at);
            self.last_exit = Some(PastExit { code: exit.code, reason: exit.reason, at: exit.finished_at });
            self.down = true;
        }
    }

    fn exit(&mut self, exited: &ContainerExited) {
        let exit = &exited.exit;
        self.last_exit = Some(PastExit { code: exit.code, reason: exit.reason, at: exit.finished_at });
        self.down = true;
    }
}

/// The beginning of a text.
fn shortened(text: &str, len_max: usize) -> String {
    let end = (0..=len_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}
