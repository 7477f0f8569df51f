//! Violations on record, judged anew by another policy of the monitor: by the most that was seen, by how long it lasted and
//! by how far it climbed.
//!
//! Samples are not on record. So nothing can be said of what stayed below every threshold, nor of what would have been done
//! on a rung that nothing climbed to; that is told.

use std::collections::BTreeMap;

use purser_events::gpu::GpuEvent;
use purser_events::node::NodeEvent;
use purser_events::pod::PodEvent;
use purser_events::violation::{Level, MonitorPolicy, ViolationEvent, ViolationKind};
use purser_events::{Event, Header, PodUid, Seq, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Console;
use crate::failure::Failure;
use crate::overlay::{Overlay, OverlayError};

/// Differences that are told one by one.
const TOLD_MAX: usize = 1_000;

const BY_RECORD: &str = "as recorded: the most that was seen, how long it lasted and how far it climbed; what stayed below \
                         every threshold is not on record, so a lower one can only be seen not to take anything away";

/// A violation that has not ended, as far as it is on record.
struct Open {
    seq: Seq,
    kind: ViolationKind,
    pod: Option<PodUid>,
    since: Timestamp,
    peak: u64,
    highest: Level,
    /// What was in force when it began, and what would have been.
    policies: (MonitorPolicy, MonitorPolicy),
}

/// What would have become of a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// What is on record.
    Same,
    /// It would not have begun: what was seen stayed below the other limit.
    Below { limit: u64 },
    /// It would not have begun: it did not last.
    Short { needed_ms: u64 },
    /// It would have stopped at a lower rung.
    Lower { level: Level },
    /// It may have climbed on from the last rung that it could reach.
    Higher { level: Level },
}

/// One that would have gone otherwise.
struct Row {
    seq: Seq,
    kind: ViolationKind,
    pod: Option<PodUid>,
    since: Timestamp,
    peak: u64,
    lasted_ms: u64,
    highest: Level,
    fate: Fate,
}

/// Violations, judged by another policy.
pub(crate) struct Rejudged<'a> {
    overlay: &'a Overlay,
    in_force: MonitorPolicy,
    open: BTreeMap<Uuid, Open>,
    judged: u64,
    same: u64,
    rows: Vec<Row>,
    /// Rows that are not kept.
    more: u64,
    /// The time of the last record.
    now: Timestamp,
}

impl<'a> Rejudged<'a> {
    pub(crate) fn new(overlay: &'a Overlay) -> Rejudged<'a> {
        let (open, judged, same, rows, more, now) = <_>::default();
        Rejudged { overlay, in_force: MonitorPolicy::default(), open, judged, same, rows, more, now }
    }

    /// Whether another policy was given.
    pub(crate) fn is_asked(&self) -> bool {
        !self.overlay.monitor.is_empty()
    }

    /// Whether nothing would have gone otherwise.
    pub(crate) fn is_same(&self) -> bool {
        self.all().iter().all(|row| row.fate == Fate::Same) && self.rows.is_empty()
    }

    /// Takes notice of what a record says.
    pub(crate) fn note(&mut self, header: &Header, event: &Event) -> Result<(), OverlayError> {
        if !self.is_asked() {
            return Ok(());
        }
        self.now = self.now.max(header.time);
        match event {
            Event::Node(NodeEvent::MonitorPolicySet(set)) => self.in_force = set.policy.clone(),
            Event::Gpu(GpuEvent::Violation(event)) | Event::Pod(PodEvent::Violation(event)) => {
                self.violation(header.seq, event)?;
            }
            // Nothing of it is left to violate anything.
            Event::Pod(PodEvent::Terminated(_)) => {
                let gone = PodUid(header.stream.id);
                let is_over = |open: &Open| open.kind.is_of_pod_alone() && open.pod == Some(gone);
                let over: Vec<Uuid> =
                    self.open.iter().filter(|(_, open)| is_over(open)).map(|(id, _)| *id).collect();
                for id in over {
                    let Some(open) = self.open.remove(&id) else { continue };
                    self.count(open.judge(header.time.ms_since(open.since)));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn violation(&mut self, seq: Seq, event: &ViolationEvent) -> Result<(), OverlayError> {
        match event {
            ViolationEvent::Detected(it) => {
                let policies = (self.in_force.clone(), self.overlay.monitor(&self.in_force)?);
                let (kind, pod, since) = (it.kind, it.pod, it.at);
                let (peak, highest) = (it.value, it.level);
                self.open.insert(it.id, Open { seq, kind, pod, since, peak, highest, policies });
            }
            ViolationEvent::Escalated(it) => {
                if let Some(open) = self.open.get_mut(&it.id) {
                    (open.peak, open.highest) = (open.peak.max(it.peak), open.highest.max(it.to));
                }
            }
            ViolationEvent::Resolved(it) => {
                if let Some(mut open) = self.open.remove(&it.id) {
                    open.peak = open.peak.max(it.peak);
                    let row = open.judge(it.duration_ms);
                    self.count(row);
                }
            }
            ViolationEvent::EnforcementRequested(_)
            | ViolationEvent::EnforcementEnded(_)
            | ViolationEvent::GapOpened(_)
            | ViolationEvent::GapClosed(_) => {}
        }
        Ok(())
    }

    fn count(&mut self, row: Row) {
        self.judged += 1;
        match row.fate {
            Fate::Same => self.same += 1,
            _ if self.rows.len() == TOLD_MAX => self.more += 1,
            _ => self.rows.push(row),
        }
    }

    /// Those that have not ended, as they stand at the end.
    fn all(&self) -> Vec<Row> {
        self.open.values().map(|open| open.judge(self.now.ms_since(open.since))).collect()
    }

    /// How many there are, how many would have been as recorded, and the others.
    fn sums(&self) -> (u64, u64, Vec<Row>) {
        let open = self.all();
        let judged = self.judged + open.len() as u64;
        let same = self.same + open.iter().filter(|row| row.fate == Fate::Same).count() as u64;
        (judged, same, open.into_iter().filter(|row| row.fate != Fate::Same).collect())
    }

    /// For people.
    pub(crate) fn tell(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        if !self.is_asked() {
            return Ok(());
        }
        let (judged, same, open) = self.sums();
        console.line(format_args!("violations {BY_RECORD}"))?;
        console.line(format_args!("judged     {judged} on record, {same} as they were"))?;
        for row in self.rows.iter().chain(&open) {
            console.line(format_args!("{}", row.line()))?;
        }
        match self.more {
            0 => Ok(()),
            more => console.line(format_args!("… and {more} more")),
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let (judged, same, open) = self.sums();
        let rows: Vec<Value> = self.rows.iter().chain(&open).map(Row::json).collect();
        json!({ "loop": "record", "judged": judged, "same": same, "differences": rows, "more": self.more })
    }
}

impl Open {
    fn judge(&self, lasted_ms: u64) -> Row {
        let Open { seq, kind, pod, since, peak, highest, .. } = *self;
        Row { seq, kind, pod, since, peak, lasted_ms, highest, fate: self.fate(lasted_ms) }
    }

    fn fate(&self, lasted_ms: u64) -> Fate {
        let (held, other) = &self.policies;
        if let (Some(was), Some(is)) = (threshold(self.kind, held), threshold(self.kind, other))
            && was != is
            && self.peak <= is
        {
            return Fate::Below { limit: is };
        }
        if waits(self.kind) && held.raise_ms < other.raise_ms {
            // It was seen for as long before it began, and for as long as it took to end after it was over.
            let over_ms = lasted_ms.saturating_add(held.raise_ms).saturating_sub(held.clear_ms);
            if over_ms < other.raise_ms {
                return Fate::Short { needed_ms: other.raise_ms };
            }
        }
        let (was, is) = (held.max_level(self.kind), other.max_level(self.kind));
        if is < self.highest {
            Fate::Lower { level: is }
        } else if was < is && was <= self.highest {
            Fate::Higher { level: is }
        } else {
            Fate::Same
        }
    }
}

/// From which figure on it is a violation, in thousandths, if a policy says so.
fn threshold(kind: ViolationKind, policy: &MonitorPolicy) -> Option<u64> {
    let percent = match kind {
        ViolationKind::CpuUsage => policy.cpu_percent,
        ViolationKind::MemoryUsage => policy.memory_percent,
        ViolationKind::GpuDeviceSaturated => policy.gpu_percent,
        _ => return None,
    };
    Some(u64::from(percent) * 10)
}

/// Whether it must last as long as the policy says before it begins.
fn waits(kind: ViolationKind) -> bool {
    matches!(
        kind,
        ViolationKind::CpuUsage
            | ViolationKind::MemoryUsage
            | ViolationKind::GpuOverQuota
            | ViolationKind::GpuOverQuotaIdle
    )
}

impl Row {
    fn words(&self) -> String {
        match self.fate {
            Fate::Same => "as recorded".to_owned(),
            Fate::Below { limit } => {
                format!("would not have begun: at most {} was seen, of {limit}", self.peak)
            }
            Fate::Short { needed_ms } => {
                format!("would not have begun: it lasted {} ms, and must last {needed_ms}", self.lasted_ms)
            }
            Fate::Lower { level } => format!("would have stopped at {level}, not at {}", self.highest),
            Fate::Higher { level } => {
                format!("may have climbed on to {level}: whether it would is not on record")
            }
        }
    }

    fn line(&self) -> String {
        let Row { seq, kind, since, .. } = self;
        let whose = self.pod.map_or_else(String::new, |pod| format!(" by {pod}"));
        format!("  {seq} {since} {kind}{whose}: {}", self.words())
    }

    fn json(&self) -> Value {
        let Row { seq, kind, pod, since, peak, lasted_ms, highest, fate } = self;
        let (word, limit, level) = match fate {
            Fate::Same => ("same", None, None),
            Fate::Below { limit } => ("below", Some(*limit), None),
            Fate::Short { needed_ms } => ("short", Some(*needed_ms), None),
            Fate::Lower { level } => ("lower", None, Some(*level)),
            Fate::Higher { level } => ("higher", None, Some(*level)),
        };
        json!({
            "seq": seq, "kind": kind.word(), "pod": pod, "since": since, "peak": peak, "lastedMs": lasted_ms,
            "highest": highest, "fate": word, "limit": limit, "level": level,
        })
    }
}
