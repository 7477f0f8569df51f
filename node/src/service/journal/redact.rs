//! `purserd journal redact`: takes the payloads of pods that are gone out of the journal.

use std::path::Path;
use std::sync::Arc;

use purser_actors::redaction::{Finished, Incarnation, OfflineError, Survey, Wanted};
use purser_actors::verdict::redacted_answer;
use purser_events::{PodId, PodUid, Principal, WorkerUid};
use purser_storage::disk::{Disk, SystemDisk};
use purser_storage::redaction::{self, Holding, Subject};
use purser_storage::{FolderError, JournalError};
use serde_json::{Value, json};

use super::{JournalVerbError, dir, print, print_json, source};
use crate::config::Config;
use crate::service::arguments::RedactArgs;
use crate::service::exit::Failure;
use crate::service::{assembly, host};

pub(super) fn run(config: &Config, args: &RedactArgs) -> Result<(), Failure> {
    let dir = dir(config)?;
    let wanted = wanted(args)?;
    let offline = assembly::offline(config, host::facts()?.boot_id, principal());
    let mut found = survey(config, &dir, wanted.clone())?;
    if found.pending.is_some() && !args.dry_run {
        // One at a time: what was asked for before comes first.
        if let Some(finished) = offline.finish().map_err(in_use)? {
            tell_unfinished(&finished);
        }
        found = survey(config, &dir, wanted)?;
    }
    let keyed = args
        .uid
        .map(PodUid)
        .filter(|uid| found.incarnations.is_empty() && offline.has_key(*uid).is_ok_and(|has| has));
    if let Some(uid) = keyed {
        // Its records were given up; copies of them may be elsewhere, and its key is here. Whether it is gone is told
        // by what is folded.
        found.incarnations.insert(uid, Incarnation { gone: true, ..Incarnation::default() });
    }
    let (gone, there) = sort(&found, args)?;
    let pods: Vec<PodUid> = gone.iter().map(|(uid, _)| *uid).collect();
    let is_of = |(worker, pod): (&WorkerUid, &PodUid)| pods.contains(pod).then_some(*worker);
    let workers: Vec<WorkerUid> = found.workers.iter().filter_map(is_of).collect();
    let plan = Plan { gone, there, workers };
    if args.dry_run {
        let holding = holding(&dir, &plan)?;
        let told = if args.json { print_json(&plan.json(&holding)) } else { print(&plan.text(&holding)) };
        return Ok(told?);
    }
    let has_key = |pod: &PodUid| offline.has_key(*pod).map_err(Failure::Offline);
    let keys = pods.iter().map(has_key).collect::<Result<Vec<bool>, Failure>>()?;
    if plan.payloads() == 0 && !keys.contains(&true) {
        let text = "there is nothing left of it to take out";
        let told = if args.json { print_json(&json!({ "records": 0 })) } else { print(&format!("{text}\n")) };
        return Ok(told?);
    }
    offline.request(pods, plan.workers.clone(), args.reason.clone()).map_err(in_use)?;
    let finished = offline.finish().map_err(in_use)?;
    if let Some(finished) = finished {
        let told = if args.json {
            print_json(&json_of(&finished, &plan))
        } else {
            print(&text_of(&finished, &plan))
        };
        told?;
    }
    Ok(())
}

/// Who redacts.
fn principal() -> Principal {
    Principal::new(&format!("uid:{}", nix::unistd::getuid()))
}

fn wanted(args: &RedactArgs) -> Result<Wanted, JournalVerbError> {
    match (&args.uid, &args.pod) {
        (Some(uid), _) => Ok(Wanted::Incarnation(PodUid(*uid))),
        (None, pod) => {
            let pod = pod.as_deref().unwrap_or_default();
            let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
            let id = PodId::new(namespace, name);
            id.map(Wanted::Name).map_err(|source| JournalVerbError::Name { pod: pod.to_owned(), source })
        }
    }
}

fn survey(config: &Config, dir: &Path, wanted: Wanted) -> Result<Survey, JournalVerbError> {
    let mut survey = Survey::new(wanted);
    for record in source(config, dir)? {
        survey.note(&record.map_err(JournalVerbError::Read)?);
    }
    Ok(survey)
}

type Incarnations = Vec<(PodUid, Incarnation)>;

/// The incarnations that are gone, and those that are not.
fn sort(survey: &Survey, args: &RedactArgs) -> Result<(Incarnations, Incarnations), JournalVerbError> {
    let pod = || args.uid.map_or_else(|| args.pod.clone().unwrap_or_default(), |uid| uid.to_string());
    let all = survey.incarnations.clone().into_iter();
    let (gone, there): (Incarnations, Incarnations) = all.partition(|(_, incarnation)| incarnation.gone);
    match (gone.is_empty(), there.is_empty()) {
        (true, true) => Err(JournalVerbError::NoSuchPod { pod: pod() }),
        (true, false) => Err(JournalVerbError::NotGone { pod: pod() }),
        (false, _) => Ok((gone, there)),
    }
}

/// What the segments hold of the pods.
fn holding(dir: &Path, plan: &Plan) -> Result<Vec<Holding>, JournalVerbError> {
    let pods = plan.gone.iter().map(|(uid, _)| uid.stream());
    let streams = pods.chain(plan.workers.iter().map(|worker| worker.stream())).collect();
    let answer = |answer: &[u8]| redacted_answer(answer, &streams);
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    let subject = Subject { streams: &streams, answer: &answer };
    redaction::holding(&disk, dir, &subject).map_err(JournalVerbError::Count)
}

/// What is to go, and what is not.
struct Plan {
    gone: Incarnations,
    there: Incarnations,
    workers: Vec<WorkerUid>,
}

impl Plan {
    fn payloads(&self) -> u64 {
        self.gone.iter().map(|(_, incarnation)| incarnation.payloads).sum()
    }

    fn pods(&self) -> Value {
        let pod = |(uid, incarnation): &(PodUid, Incarnation)| {
            let Incarnation { id, payloads, redacted, .. } = incarnation;
            json!({ "uid": uid, "id": id, "payloads": payloads, "redactedBefore": redacted })
        };
        self.gone.iter().map(pod).collect()
    }

    fn text(&self, holding: &[Holding]) -> String {
        let mut text = String::new();
        for (uid, incarnation) in &self.gone {
            text.push_str(&format!("pod       {uid}: {} payloads\n", incarnation.payloads));
        }
        text.push_str(&left_alone(&self.there));
        text.push_str(&format!("workers   {}\n", self.workers.len()));
        let payloads: u64 = holding.iter().map(|segment| segment.payloads).sum();
        text.push_str(&format!("segments  {} hold {payloads} payloads\n", holding.len()));
        let archived: Vec<u64> =
            holding.iter().filter(|segment| segment.archived).map(|segment| segment.first.0).collect();
        text.push_str(&archive_note(&archived));
        text.push_str("nothing was changed: this was a dry run\n");
        text
    }

    fn json(&self, holding: &[Holding]) -> Value {
        let segment = |segment: &Holding| {
            let Holding { first, payloads, archived } = segment;
            json!({ "first": first, "payloads": payloads, "archived": archived })
        };
        json!({
            "dryRun": true,
            "pods": self.pods(),
            "workers": self.workers,
            "notGone": self.there.iter().map(|(uid, _)| uid).collect::<Vec<_>>(),
            "segments": holding.iter().map(segment).collect::<Vec<_>>(),
        })
    }
}

fn left_alone(there: &Incarnations) -> String {
    let line = |(uid, _): &(PodUid, Incarnation)| format!("left      {uid} is not gone and stays as it is\n");
    there.iter().map(line).collect()
}

fn archive_note(archived: &[u64]) -> String {
    if archived.is_empty() {
        return String::new();
    }
    let firsts: Vec<String> = archived.iter().map(u64::to_string).collect();
    format!(
        "archive   it still holds these payloads, in the segments from record {}: Purser cannot change it\n",
        firsts.join(", ")
    )
}

fn archived_of(finished: &Finished) -> Vec<u64> {
    finished.done.archived.iter().map(|first| first.0).collect()
}

fn text_of(finished: &Finished, plan: &Plan) -> String {
    let Finished { asked, done, keys_destroyed } = finished;
    let mut text = format!(
        "redacted  {} payloads of {} pods and {} workers, in {} segments\n",
        done.records(),
        asked.pods.len(),
        asked.workers.len(),
        done.segments.len()
    );
    if *keys_destroyed > 0 {
        text.push_str(&format!(
            "keys      {keys_destroyed} destroyed: no copy of what they sealed can be read\n"
        ));
    }
    text.push_str(&left_alone(&plan.there));
    text.push_str(&archive_note(&archived_of(finished)));
    text.push_str(&format!("recorded  as redaction {}\n", asked.id));
    text
}

fn json_of(finished: &Finished, plan: &Plan) -> Value {
    let Finished { asked, done, keys_destroyed } = finished;
    json!({
        "redaction": asked.id,
        "pods": plan.pods(),
        "workers": asked.workers,
        "notGone": plan.there.iter().map(|(uid, _)| uid).collect::<Vec<_>>(),
        "records": done.records(),
        "segments": done.segments.iter().map(|segment| segment.first).collect::<Vec<_>>(),
        "archived": archived_of(finished),
        "keysDestroyed": keys_destroyed,
    })
}

fn tell_unfinished(finished: &Finished) {
    let Finished { asked, done, .. } = finished;
    eprintln!("purserd: redaction {} was not over and is now: {} payloads went", asked.id, done.records());
}

/// That the service runs is told as what it is.
fn in_use(error: OfflineError) -> Failure {
    match error {
        OfflineError::Open(JournalError::Folder(error @ FolderError::Locked { .. })) => {
            JournalVerbError::InUse(error).into()
        }
        error => Failure::Offline(error),
    }
}
