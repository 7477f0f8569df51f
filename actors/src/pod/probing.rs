//! Probes: repeated checks of a container that runs. What single checks see is counted here and forgotten; only
//! a change of standing becomes a command.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{Addr, AsyncContext, Context};
use purser_events::pod::event::FailureClass;
use purser_events::pod::spec::{Probe, ProbeCheck, ProbeKind};
use purser_events::pod::{ContainerState, PodCommand, expansion};
use purser_events::{Cause, ContainerName, Seq, Timestamp};
use tokio::sync::mpsc;

use super::{PodActor, report};
use crate::entity::By;
use crate::port::{ContainerKey, Containers, ExecIo, ProbeVerdict, RuntimeError};
use crate::shell::Shell;

/// Where probes ask that name no host: containers share the node's network.
const LOCAL_HOST: &str = "127.0.0.1";
/// Pieces of a probe's output that may wait to be thrown away.
const OUTPUT_QUEUE: usize = 4;

impl PodActor {
    /// Begins the probes that a container is due for: the startup probe, or the others once that has passed.
    pub(super) fn begin_probing(&mut self, name: &ContainerName, seq: Seq, ctx: &mut Context<PodActor>) {
        self.end_probing(name);
        let Some(pod) = self.live() else { return };
        let Some(ContainerState::Running { attempt, startup_passed, .. }) =
            pod.container(name).map(|container| &container.state)
        else {
            return;
        };
        let Some(spec) = pod.spec.container(name) else { return };
        let due: &[ProbeKind] = if *startup_passed {
            &[ProbeKind::Liveness, ProbeKind::Readiness]
        } else {
            &[ProbeKind::Startup]
        };
        let key = self.key(name, attempt.number);
        let tasks = due
            .iter()
            .filter_map(|kind| spec.probe(*kind).map(|probe| (*kind, probe.clone())))
            .map(|(kind, probe)| {
                let command = match &probe.check {
                    ProbeCheck::Exec { command } => expansion::probe_command(command, &spec.env),
                    ProbeCheck::HttpGet { .. } | ProbeCheck::TcpSocket { .. } => Vec::new(),
                };
                let prober = Prober {
                    key: key.clone(),
                    command,
                    kind,
                    probe,
                    started_at: attempt.started_at,
                    runtime: self.runtime.clone(),
                    shell: self.shell.clone(),
                    pod: ctx.address(),
                    by: self.by(Cause::Observation(seq)),
                };
                tokio::task::spawn_local(prober.run()).abort_handle()
            })
            .collect();
        self.probes.insert(name.clone(), tasks);
    }

    pub(super) fn end_probing(&mut self, container: &ContainerName) {
        if let Some(tasks) = self.probes.remove(container) {
            tasks.into_iter().for_each(|task| task.abort());
        }
    }
}

/// One probe of one try of a container.
struct Prober {
    key: ContainerKey,
    /// Of a check by a command, with its references replaced.
    command: Vec<String>,
    kind: ProbeKind,
    probe: Probe,
    started_at: Timestamp,
    runtime: Arc<dyn Containers>,
    shell: Arc<Shell>,
    pod: Addr<PodActor>,
    by: By,
}

impl Prober {
    async fn run(self) {
        let clock = self.shell.clock.clone();
        let delay_ms = u64::from(self.probe.initial_delay_s) * 1_000;
        let due = self.started_at.plus_ms(delay_ms);
        // Never longer than asked, however the clock was set meanwhile.
        clock.sleep(Duration::from_millis(due.ms_since(clock.now()).min(delay_ms))).await;
        let (mut in_a_row, mut last, mut told) = (0_u32, None, false);
        loop {
            let next = clock.sleep(Duration::from_secs(u64::from(self.probe.period_s)));
            // A check that could not be made says nothing of the container.
            let Some(ProbeVerdict { success, message }) = self.check().await else {
                next.await;
                continue;
            };
            if last == Some(success) {
                in_a_row = in_a_row.saturating_add(1);
            } else {
                (in_a_row, told) = (1, false);
            }
            last = Some(success);
            let threshold = if success { self.probe.success_threshold } else { self.probe.failure_threshold };
            // Told once per change of standing; the pod ignores what it knows already.
            if threshold <= in_a_row && !told {
                told = self.tell(success, message).await;
            }
            next.await;
        }
    }

    /// Tells the pod, and says whether it has heard.
    async fn tell(&self, success: bool, message: String) -> bool {
        let (container, attempt) = (self.key.container.clone(), self.key.attempt);
        let command = PodCommand::ReportProbe { container, attempt, probe: self.kind, success, message };
        !report(&self.pod, command, self.by.clone()).await
    }

    /// Makes the check; none if it could not be made.
    async fn check(&self) -> Option<ProbeVerdict> {
        let timeout = Duration::from_secs(u64::from(self.probe.timeout_s));
        match &self.probe.check {
            ProbeCheck::Exec { .. } => self.check_exec(&self.command, timeout).await,
            ProbeCheck::HttpGet { host, port, path, headers } => {
                let host = host.as_deref().unwrap_or(LOCAL_HOST);
                Some(self.shell.probes.http_get(host, *port, path, headers, timeout).await)
            }
            ProbeCheck::TcpSocket { host, port } => {
                let host = host.as_deref().unwrap_or(LOCAL_HOST);
                Some(self.shell.probes.tcp_connect(host, *port, timeout).await)
            }
        }
    }

    /// Runs the command in the container; what it prints is not kept, since it may hold secrets.
    async fn check_exec(&self, command: &[String], timeout: Duration) -> Option<ProbeVerdict> {
        let (output, mut printed) = mpsc::channel(OUTPUT_QUEUE);
        let run = self.runtime.exec(&self.key, command, ExecIo { stdin: None, output });
        let drain = async { while printed.recv().await.is_some() {} };
        let verdict = tokio::time::timeout(timeout, async { tokio::join!(run, drain).0 }).await;
        let (success, message) = match verdict {
            Ok(Ok(0)) => (true, "command succeeded".to_owned()),
            Ok(Ok(code)) => (false, format!("command ended with code {code}")),
            // The runtime is away, which its containers need not suffer for.
            Ok(Err(RuntimeError { class: FailureClass::Unavailable | FailureClass::Runtime, .. })) => {
                return None;
            }
            Ok(Err(error)) => (false, format!("command could not be run: {error}")),
            Err(_) => (false, format!("command did not end within {} s", timeout.as_secs())),
        };
        Some(ProbeVerdict { success, message })
    }
}
