//! The directory: which actor has which pod. Facts about pods are the registry's, not in here.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::{Actor, Addr, AsyncContext, Context, Handler, Message, MessageResult, ResponseFuture};
use purser_events::pod::{Pod, PodRejection, PodSpec};
use purser_events::{PodId, PodUid};

use crate::entity::{By, Done, Entity, Refusal};
use crate::ledger::LedgerActor;
use crate::mailbox;
use crate::pod::{Begin, Beginning, PodActor, Retire};
use crate::shell::Shell;

/// Finds pods' actors and makes new ones.
pub struct Directory {
    shell: Arc<Shell>,
    ledger: Addr<LedgerActor>,
    by_name: BTreeMap<PodId, PodUid>,
    pods: BTreeMap<PodUid, Addr<PodActor>>,
}

/// Asks for a pod to be run.
pub struct Apply {
    /// What it is to be.
    pub spec: PodSpec,
    /// On whose behalf.
    pub by: By,
}

impl Message for Apply {
    type Result = Result<Done, Refusal<PodRejection>>;
}

/// Asks for the actor of a pod by name.
pub struct Find {
    /// The name.
    pub id: PodId,
}

impl Message for Find {
    type Result = Option<Addr<PodActor>>;
}

/// Asks for the actor of a pod by incarnation.
pub struct FindUid {
    /// The incarnation.
    pub uid: PodUid,
}

impl Message for FindUid {
    type Result = Option<Addr<PodActor>>;
}

/// Says that an incarnation is gone.
pub struct Forget {
    /// Its name.
    pub id: PodId,
    /// Itself.
    pub uid: PodUid,
}

impl Message for Forget {
    type Result = ();
}

/// Asks for every actor.
pub struct Everyone;

impl Message for Everyone {
    type Result = Vec<Addr<PodActor>>;
}

/// Brings back the pods of the journal.
pub struct Recover {
    /// Pods that are not gone.
    pub pods: Vec<(PodUid, Pod)>,
}

impl Message for Recover {
    /// Pods whose runtime this node does not have: they are left alone.
    type Result = Vec<PodId>;
}

impl Directory {
    /// A directory without pods.
    #[must_use]
    pub fn new(shell: Arc<Shell>, ledger: Addr<LedgerActor>) -> Directory {
        Directory { shell, ledger, by_name: BTreeMap::new(), pods: BTreeMap::new() }
    }

    fn add(
        &mut self,
        id: &PodId,
        entity: Entity<Pod>,
        class: purser_events::pod::spec::RuntimeClass,
        ctx: &mut Context<Directory>,
    ) -> Option<Addr<PodActor>> {
        let runtime = self.shell.runtime(class)?;
        let uid = PodUid(entity.stream.id);
        let (shell, ledger) = (self.shell.clone(), self.ledger.clone());
        let actor = PodActor::new(id.clone(), entity, runtime, shell, ctx.address(), ledger).start();
        self.by_name.insert(id.clone(), uid);
        self.pods.insert(uid, actor.clone());
        Some(actor)
    }
}

impl Actor for Directory {
    type Context = Context<Directory>;

    fn started(&mut self, ctx: &mut Context<Directory>) {
        ctx.set_mailbox_capacity(mailbox::LEN_MAX);
    }
}

impl Handler<Apply> for Directory {
    type Result = ResponseFuture<Result<Done, Refusal<PodRejection>>>;

    fn handle(&mut self, Apply { spec, by }: Apply, ctx: &mut Context<Directory>) -> Self::Result {
        let id = spec.id.clone();
        let held = self.by_name.get(&id).and_then(|uid| Some((*uid, self.pods.get(uid)?.clone())));
        let (uid, pod) = match held {
            Some(held) => held,
            // A second pod of that name would take its place behind its back.
            None if self.shell.live.read(|world| world.registry.entries.contains_key(&id)) => {
                return Box::pin(async { Err(Refusal::Rejected(PodRejection::Unmanaged { id })) });
            }
            None => {
                let uid = PodUid(self.shell.ids.uuid());
                match self.add(&id, Entity::new(uid.0), spec.runtime, ctx) {
                    Some(pod) => (uid, pod),
                    // The façade has checked the runtime: only a change in between can lead here.
                    None => return Box::pin(async { Err(Refusal::Retired) }),
                }
            }
        };
        let supersedes =
            self.shell.live.read(|world| world.registry.latest(&id)).filter(|other| *other != uid);
        let begin = Begin { how: Beginning::Admit { spec: Box::new(spec), supersedes }, by };
        Box::pin(async move {
            let outcome = pod.send(begin).await.unwrap_or(Err(Refusal::Retired));
            let is_this_pod = outcome.as_ref().is_ok_and(|done| done.stream == uid.stream());
            if !is_this_pod {
                // Refused, or answered from an earlier request: an actor that was made for it has no pod.
                let _ = pod.send(Retire).await;
            }
            outcome
        })
    }
}

impl Handler<Find> for Directory {
    type Result = MessageResult<Find>;

    fn handle(&mut self, Find { id }: Find, _: &mut Context<Directory>) -> Self::Result {
        MessageResult(self.by_name.get(&id).and_then(|uid| self.pods.get(uid)).cloned())
    }
}

impl Handler<FindUid> for Directory {
    type Result = MessageResult<FindUid>;

    fn handle(&mut self, FindUid { uid }: FindUid, _: &mut Context<Directory>) -> Self::Result {
        MessageResult(self.pods.get(&uid).cloned())
    }
}

impl Handler<Forget> for Directory {
    type Result = ();

    fn handle(&mut self, Forget { id, uid }: Forget, _: &mut Context<Directory>) {
        self.pods.remove(&uid);
        if self.by_name.get(&id) == Some(&uid) {
            self.by_name.remove(&id);
        }
    }
}

impl Handler<Everyone> for Directory {
    type Result = MessageResult<Everyone>;

    fn handle(&mut self, _: Everyone, _: &mut Context<Directory>) -> Self::Result {
        MessageResult(self.pods.values().cloned().collect())
    }
}

impl Handler<Recover> for Directory {
    type Result = MessageResult<Recover>;

    fn handle(&mut self, Recover { pods }: Recover, ctx: &mut Context<Directory>) -> Self::Result {
        let mut left_alone = vec![];
        for (uid, pod) in pods {
            let Some(live) = pod.live() else { continue };
            let (id, class) = (live.spec.id.clone(), live.spec.runtime);
            let entity = Entity::recovered(uid.0, pod, &self.shell);
            if self.add(&id, entity, class, ctx).is_none() {
                left_alone.push(id);
            }
        }
        MessageResult(left_alone)
    }
}
