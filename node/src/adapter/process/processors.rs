//! The processors that a container's processes run on, and what these processes have used.
//!
//! The scheduler holds each thread to its processors, and what a thread starts inherits them; where there is a control
//! group for it, that holds all of them together, and no process can widen its own. The plan in the attempt's folder
//! says what is to be: it is written before any thread is moved, and whoever enters the container looks at it again
//! after it has moved itself. So a command that comes in meanwhile is moved by one of the two.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use nix::unistd::Pid;
use purser_actors::port::{ContainerKey, ContainerUse, LimitsInForce, ResizePlan, RuntimeError};
use purser_events::pod::event::FailureClass;
use purser_events::{Bytes, CpuSet, MilliCpu, PodUid};
use rustix::param::{clock_ticks_per_second, page_size};

use super::cgroup::Cgroups;
use super::folder::Folder;
use super::identity::{self, Stat};
use super::planning::group_names;
use super::records::{Failure, Plan, State};
use super::standing::{Found, look_settled};
use super::{Core, cgroup, cpuset, exec};
use crate::adapter::usage::Measured;
use crate::adapter::{affinity, sizes, throttle};

/// Most times that all threads are looked at: a container that starts some faster than that is told so.
const PASSES_MAX: u32 = 100;

/// Puts this process into the groups of a container and on its processors.
pub(super) fn enter(plan: &Plan) -> Result<(), Failure> {
    // Older kernels forget, at the entry into a group, what a thread was held to before.
    let before = affinity::own().ok();
    cgroup::join(&plan.cgroups).map_err(Failure::runtime)?;
    match plan.cpus.as_ref().or(before.as_ref()) {
        Some(cpus) if affinity::own().ok().as_ref() != Some(cpus) => {
            affinity::set(Pid::this(), cpus).map(drop).map_err(not_set)
        }
        Some(_) | None => Ok(()),
    }
}

/// As [`enter`], for a container that runs and whose processors may be changed at the same time.
pub(super) fn enter_beside(folder: &Folder, plan: &Plan) -> Result<(), Failure> {
    let mut entered = plan.clone();
    loop {
        enter(&entered)?;
        let plan =
            folder.plan().map_err(|error| Failure::runtime(format!("failed to read the plan: {error}")))?;
        let plan = plan.ok_or_else(|| Failure::invalid("the container does not run any more"))?;
        if plan.cpus == entered.cpus {
            return Ok(());
        }
        entered = plan;
    }
}

impl Core {
    /// Moves a container that runs to other processors.
    pub(super) fn set_cpus(&self, key: &ContainerKey, cpus: &CpuSet) -> Result<(), RuntimeError> {
        affinity::refuse_none(cpus)?;
        let folder = self.folder(key);
        match look_settled(&folder)? {
            Found::Running(state) => {
                let _one_at_a_time = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(change(&folder, &state, cpus)?)
            }
            Found::Absent | Found::Created | Found::Starting | Found::Ended(..) => Ok(()),
        }
    }

    /// Lets a container have so much processor time at most.
    pub(super) fn set_cpu_limit(
        &self,
        key: &ContainerKey,
        limit: Option<MilliCpu>,
    ) -> Result<(), RuntimeError> {
        let (pod, container) = group_names(key);
        if throttle::set_cpu_limit(&self.cgroups.folders(&pod, &container), limit)? {
            return Ok(());
        }
        match look_settled(&self.folder(key))? {
            Found::Running(_) => Err(throttle::without_group()),
            Found::Absent | Found::Created | Found::Starting | Found::Ended(..) => Ok(()),
        }
    }

    /// Why what runs cannot be held to other limits, if it cannot.
    pub(super) fn cannot_resize(&self) -> Option<String> {
        let why = "its processes have no control groups, which this node may not write";
        (!self.cgroups.hold_limits()).then(|| why.to_owned())
    }

    /// Holds a container to other limits: memory first, which the kernel may refuse.
    pub(super) fn resize(&self, plan: &ResizePlan) -> Result<(), RuntimeError> {
        let (pod, container) = group_names(&plan.key);
        let groups = self.cgroups.folders(&pod, &container);
        let resources = &plan.resources;
        let is_there = sizes::set_memory_limit(&groups, resources.memory_limit)?;
        let most = plan.held_to.or(resources.cpu_limit);
        let is_limited = sizes::in_force(&groups).is_some_and(|limits| limits.cpu.is_some());
        if most.is_some() || is_limited {
            throttle::set_cpu_limit(&groups, most)?;
        }
        sizes::weigh(&groups, cgroup::shares(resources.cpu_request.or(resources.cpu_limit)));
        match look_settled(&self.folder(&plan.key))? {
            Found::Running(_) if !is_there => Err(throttle::without_group()),
            Found::Running(_) | Found::Absent | Found::Created | Found::Starting | Found::Ended(..) => Ok(()),
        }
    }

    /// The limits that the kernel holds a container to.
    pub(super) fn limits(&self, key: &ContainerKey) -> Option<LimitsInForce> {
        let (pod, container) = group_names(key);
        sizes::in_force(&self.cgroups.folders(&pod, &container))
    }

    /// Lets a pod have so much memory of a GPU at most.
    pub(super) fn set_gpu_memory_limit(
        &self,
        pod: PodUid,
        bus: &str,
        limit: Option<Bytes>,
    ) -> Result<(), RuntimeError> {
        match &self.cgroups {
            Cgroups::V2(base) => {
                let group = base.join(pod.to_string());
                throttle::set_gpu_memory_limit(&self.settings.cgroup_mount, &group, bus, limit)
            }
            Cgroups::V1(_) | Cgroups::Unwritable(_) => Err(throttle::no_controller()),
        }
    }

    /// The processes of a container, commands that run in it too.
    pub(super) fn processes(&self, key: &ContainerKey) -> Result<BTreeSet<u32>, RuntimeError> {
        let failed = |error: std::io::Error| {
            Failure::runtime(format!("failed to look for the container's processes: {error}"))
        };
        let folder = self.folder(key);
        match look_settled(&folder)? {
            Found::Running(state) => {
                let groups = folder.plan().map_err(failed)?.map(|plan| plan.cgroups).unwrap_or_default();
                Ok(processes(&folder, &state, &groups).map_err(failed)?)
            }
            Found::Absent | Found::Created | Found::Starting | Found::Ended(..) => Ok(BTreeSet::new()),
        }
    }

    /// What a container has used. Where the kernel keeps no account of it, what its processes say.
    pub(super) fn usage(&self, key: &ContainerKey) -> Result<Option<ContainerUse>, RuntimeError> {
        let (pod, container) = group_names(key);
        let measured = Measured::of(&self.cgroups.folders(&pod, &container));
        if measured.cpu_us.is_some() && measured.memory.is_some() {
            return measured.whole();
        }
        match look_settled(&self.folder(key))? {
            Found::Running(state) => fill_in(measured, &state),
            Found::Absent | Found::Created | Found::Starting | Found::Ended(..) => Ok(None),
        }
    }
}

/// Moves a container that runs, with all in it, to other processors. Not to be called for one container twice at the
/// same time. *Idempotent*.
///
/// # Errors
/// The machine does not have the processors, or the container starts threads faster than they are moved.
fn change(folder: &Folder, state: &State, cpus: &CpuSet) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::runtime(format!("failed to note the processors: {error}"));
    let Some(mut plan) = folder.plan().map_err(failed)? else { return Ok(()) };
    let before = plan.cpus.replace(cpus.clone());
    if before != plan.cpus {
        match folder.write_plan(&plan) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            written => written.map_err(failed)?,
        }
    }
    let moved = move_all(folder, state, &plan, cpus);
    if moved.is_err() && before != plan.cpus {
        plan.cpus = before;
        // Commands that come in from now on are held as the container was.
        let _ = folder.write_plan(&plan);
    }
    moved
}

fn move_all(folder: &Folder, state: &State, plan: &Plan, cpus: &CpuSet) -> Result<(), Failure> {
    for group in &plan.cgroups {
        match cpuset::confine(group, cpus) {
            // The container ended meanwhile.
            Err(_) if !identity::lives(&state.main) => return Ok(()),
            done => done.map_err(Failure::invalid)?,
        }
    }
    // What the scheduler made of it: without those that are offline.
    let mut in_force = None;
    for _ in 0..PASSES_MAX {
        let threads = threads(folder, state, plan).map_err(|error| {
            Failure::runtime(format!("failed to look for the container's processes: {error}"))
        })?;
        let mut all_there = true;
        for thread in threads {
            all_there &= move_one(thread, cpus, &mut in_force)?;
        }
        if all_there {
            return Ok(());
        }
    }
    let message = "the container starts processes faster than they can be moved to other processors";
    Err(Failure { class: FailureClass::Unavailable, message: message.into() })
}

/// Moves a thread, unless it is where it belongs: says whether it was. One that is gone was not: what it may have
/// started meanwhile is still to be found.
fn move_one(thread: Pid, cpus: &CpuSet, in_force: &mut Option<CpuSet>) -> Result<bool, Failure> {
    let held = affinity::of(thread).map_err(not_set)?;
    if held.is_some() && held == *in_force {
        return Ok(true);
    }
    if held.is_some() && affinity::set(thread, cpus).map_err(not_set)? && in_force.is_none() {
        *in_force = affinity::of(thread).map_err(not_set)?;
    }
    Ok(false)
}

fn not_set(error: std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::InvalidInput => Failure::invalid(error.to_string()),
        _ => Failure::runtime(error.to_string()),
    }
}

/// Every thread of the container that there is now.
fn threads(folder: &Folder, state: &State, plan: &Plan) -> std::io::Result<Vec<Pid>> {
    let threads = processes(folder, state, &plan.cgroups)?
        .into_iter()
        .flat_map(|pid| identity::numbers(&Path::new("/proc").join(pid.to_string()).join("task")));
    Ok(threads.filter_map(|thread| i32::try_from(thread).ok()).map(Pid::from_raw).collect())
}

/// Every process of the container that there is now.
fn processes(folder: &Folder, state: &State, groups: &[PathBuf]) -> std::io::Result<BTreeSet<u32>> {
    let mut tops = vec![state.shim.host_pid];
    tops.extend(exec::running(folder)?.iter().map(|process| process.host_pid));
    let mut processes: BTreeSet<u32> = tree(&tops).into_keys().collect();
    processes.extend(cgroup::members(groups).into_iter().filter_map(|pid| u32::try_from(pid).ok()));
    // It serves the container and is no part of it.
    processes.remove(&state.shim.host_pid);
    Ok(processes)
}

/// Some processes and all that are below them.
fn tree(tops: &[u32]) -> BTreeMap<u32, Stat> {
    let all: BTreeMap<u32, Stat> = identity::all().collect();
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (pid, stat) in &all {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let mut found = BTreeMap::new();
    let mut left = tops.to_vec();
    while let Some(pid) = left.pop() {
        let Some(stat) = all.get(&pid) else { continue };
        if found.insert(pid, *stat).is_none() {
            left.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

/// What a container uses that runs and of which the kernel keeps no account: the sum over the processes below its shim,
/// where memory that they share counts several times. Commands run beside it are not in it: their time would be gone
/// with them.
fn fill_in(measured: Measured, state: &State) -> Result<Option<ContainerUse>, RuntimeError> {
    let shim = state.shim.host_pid;
    let processes = tree(&[shim]);
    let of_container = || processes.iter().filter(|(pid, _)| **pid != shim).map(|(_, stat)| stat);
    // Orphans that have ended were collected by the shim, and their time with them.
    let by_shim = processes.get(&shim).map_or(0, |stat| stat.collected_ticks);
    let ticks = of_container()
        .fold(by_shim, |sum, stat| sum.saturating_add(stat.own_ticks).saturating_add(stat.collected_ticks));
    let pages = of_container().fold(0_u64, |sum, stat| sum.saturating_add(stat.resident_pages));
    let cpu_us = ticks.saturating_mul(1_000_000) / clock_ticks_per_second().max(1);
    let memory = Bytes(pages.saturating_mul(u64::try_from(page_size()).unwrap_or(u64::MAX)));
    Measured {
        cpu_us: measured.cpu_us.or(Some(cpu_us)),
        memory: measured.memory.or(Some(memory)),
        memory_peak: measured.memory_peak,
    }
    .whole()
}
