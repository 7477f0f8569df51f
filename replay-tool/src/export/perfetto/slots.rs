//! Slots in a trace: a group for each pool with a track for each slot, on which whoever has it is a slice, and arrows from
//! the record since which a task waited to the slot that it got.

use purser_events::pool::SlotKey;
use purser_events::{Header, StreamId};
use serde_json::json;

use super::Perfetto;
use crate::failure::Failure;
use crate::slots::{Had, Turn};

/// Group numbers of pools begin here, behind all that GPUs may have.
const FIRST_POOL: u64 = 100_000;

/// Most slots of one pod, which tell the tracks of one group apart.
const SLOTS_MAX: u64 = 64;

impl Perfetto<'_> {
    /// Draws what a record changed of slots.
    pub(super) fn slot(&mut self, header: &Header, turn: Option<Turn>) -> Result<(), Failure> {
        match turn {
            Some(Turn::Taken { had, since, waited_us }) => {
                let (pid, tid) = self.slot_track(header.stream, had.slot)?;
                let args = json!({ "task": had.task, "seq": header.seq, "waitedUs": waited_us });
                self.fill(pid, tid, had, &args)?;
                let Some(id) = self.arrows.wait_of(since) else { return Ok(()) };
                let ts = self.now;
                self.put(&json!({
                    "ph": "f", "bp": "e", "pid": pid, "tid": tid, "ts": ts, "cat": "slot", "name": "gets a slot", "id": id,
                }))
            }
            Some(Turn::Goes(had)) => {
                let (pid, tid) = self.slot_track(header.stream, had.slot)?;
                self.fill(pid, tid, had, &json!({ "task": had.task, "seq": header.seq }))
            }
            Some(Turn::Lost { had, .. } | Turn::Over { had: Some(had), .. }) => {
                let (pid, tid) = self.slot_track(header.stream, had.slot)?;
                self.empty(pid, tid)
            }
            Some(Turn::Over { had: None, .. } | Turn::Room) | None => Ok(()),
        }
    }

    /// Ends the slices of slots that somebody still has.
    pub(super) fn end_slots(&mut self) -> Result<(), Failure> {
        let open: Vec<(u64, u64)> = self.filled.keys().copied().collect();
        open.into_iter().try_for_each(|(pid, tid)| self.empty(pid, tid))
    }

    /// The track of a slot; it is made and named when it is first needed.
    fn slot_track(&mut self, pool: StreamId, slot: SlotKey) -> Result<(u64, u64), Failure> {
        let pid = match self.pools.get(&pool) {
            Some(pid) => *pid,
            None => {
                let pid = FIRST_POOL + self.pools.len() as u64;
                self.pools.insert(pool, pid);
                let name = self.pool_name(pool);
                self.name_group(pid, &format!("pool {name}"))?;
                pid
            }
        };
        let tid =
            slot.member.saturating_mul(SLOTS_MAX).saturating_add(u64::from(slot.slot)).saturating_add(1);
        if self.slot_tracks.insert((pid, tid)) {
            let name = format!("member {} slot {}", slot.member, slot.slot);
            self.put(&json!({
                "ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": { "name": name },
            }))?;
        }
        Ok((pid, tid))
    }

    /// What a pool is called.
    pub(super) fn pool_name(&mut self, pool: StreamId) -> String {
        let name = self.slots.pool(pool).map(|pool| pool.name.clone()).filter(|name| !name.is_empty());
        name.map_or_else(|| pool.to_string(), |name| self.shown.text(&name))
    }

    fn fill(&mut self, pid: u64, tid: u64, had: Had, args: &serde_json::Value) -> Result<(), Failure> {
        self.empty(pid, tid)?;
        let (ts, name) = (self.now, format!("{} {}", had.kind, had.doing.word()));
        self.put(&json!({
            "ph": "B", "pid": pid, "tid": tid, "ts": ts, "cat": "slot", "name": name.as_str(), "args": args,
        }))?;
        self.filled.insert((pid, tid), name);
        Ok(())
    }

    fn empty(&mut self, pid: u64, tid: u64) -> Result<(), Failure> {
        let Some(name) = self.filled.remove(&(pid, tid)) else { return Ok(()) };
        let ts = self.now;
        self.put(&json!({ "ph": "E", "pid": pid, "tid": tid, "ts": ts, "name": name }))
    }
}
