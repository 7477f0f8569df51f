//! The commands behind the records of GPUs, as far as somebody gave them. What follows from looks and samples cannot be
//! decided again: of these only changes are on record.

use purser_events::Event;
use purser_events::gpu::event::{DrainRequested, GpuEvent};
use purser_events::gpu::{Gpu, GpuCommand};

use super::{About, Redecided};

impl Redecided for Gpu {
    fn commands(&self, events: &[GpuEvent], _: About) -> Vec<GpuCommand> {
        use GpuCommand as C;
        use GpuEvent as E;
        match events.first() {
            Some(E::Cordoned(it)) => {
                let cordon = C::Cordon { by: it.by.clone(), reason: it.reason.clone() };
                drain(Some(it.reason.as_str()), events).into_iter().chain([cordon]).collect()
            }
            Some(E::Uncordoned(it)) => {
                vec![C::Uncordon { by: it.by.clone(), ecc_uncorrected: it.ecc_uncorrected }]
            }
            Some(E::DrainRequested(_)) => drain(reason_of(self), events).into_iter().collect(),
            Some(E::DrainEnded(it)) => {
                let uncordon = events.iter().find_map(|event| match event {
                    E::Uncordoned(it) => {
                        Some(C::Uncordon { by: it.by.clone(), ecc_uncorrected: it.ecc_uncorrected })
                    }
                    _ => None,
                });
                let ways = [uncordon, drain(reason_of(self), events), forgotten(events)];
                ways.into_iter().flatten().chain([C::EndDrain { outcome: it.outcome }]).collect()
            }
            Some(E::Forgotten(_)) => forgotten(events).into_iter().collect(),
            // Violations of one that is forgotten end with it.
            Some(E::Violation(_)) => forgotten(events).into_iter().collect(),
            Some(E::Found(_) | E::FactsChanged(_) | E::HealthChanged(_) | E::FaultNoted(_)) | None => {
                Vec::new()
            }
        }
    }

    fn of(event: &Event) -> Option<&GpuEvent> {
        match event {
            Event::Gpu(event) => Some(event),
            _ => None,
        }
    }
}

/// Why nothing of it is given out.
fn reason_of(gpu: &Gpu) -> Option<&str> {
    Some(gpu.known()?.cordon.as_ref()?.reason.as_str())
}

/// The wish to have no pods on it, if it is among what is on record; the cordon that was there has its reason.
fn drain(reason: Option<&str>, events: &[GpuEvent]) -> Option<GpuCommand> {
    let DrainRequested { by, grace_s, .. } = events.iter().take(3).find_map(|event| match event {
        GpuEvent::DrainRequested(it) => Some(it.clone()),
        _ => None,
    })?;
    Some(GpuCommand::Drain { by, reason: reason?.to_owned(), grace_s })
}

/// That it was let go of, which is only of one that nobody has and nothing names.
fn forgotten(events: &[GpuEvent]) -> Option<GpuCommand> {
    events.iter().find_map(|event| match event {
        GpuEvent::Forgotten(it) => Some(GpuCommand::Forget { by: it.by.clone(), holders: 0, is_seen: false }),
        _ => None,
    })
}
