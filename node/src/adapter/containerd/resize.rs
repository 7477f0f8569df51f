//! Other limits for a container that runs: by containerd, so that runc knows of them when it changes something else.

use containerd_client::services::v1::UpdateTaskRequest;
use prost_types::Any;
use purser_actors::port::{ResizePlan, RuntimeError};
use serde_json::{Value, json};

use super::connection::{TASK_LIMIT, within};
use super::cpus::RESOURCES_TYPE;
use super::failure::{from_status, is_away};
use super::{ContainerdRuntime, naming, spec};
use crate::adapter::sizes;
use crate::adapter::throttle::{self, CPU_PERIOD_US, quota_us};

impl ContainerdRuntime {
    /// Holds a container to other limits; one that does not run is fine.
    pub(super) async fn change_limits(&self, plan: &ResizePlan) -> Result<(), RuntimeError> {
        let (folders, limit) = (self.cgroups.folders(&plan.key), plan.resources.memory_limit);
        let looked = folders.clone();
        let refused = tokio::task::spawn_blocking(move || sizes::refuse_below_use(&looked, limit));
        refused.await.expect("reading a cgroup does not panic")?;
        let message = UpdateTaskRequest {
            container_id: naming::id_of(&plan.key),
            resources: Some(Any {
                type_url: RESOURCES_TYPE.to_owned(),
                value: resources(plan, self.cgroups.limits_swap).to_string().into_bytes(),
            }),
            ..UpdateTaskRequest::default()
        };
        if let Err(status) = within(TASK_LIMIT, self.line.tasks().update(self.line.request(message))).await {
            if !is_away(&status) && !self.is_running(&plan.key).await? {
                return Ok(());
            }
            return Err(from_status("change the limits of a container", &status));
        }
        let (this, plan) = (self.clone(), plan.clone());
        let after = move || {
            this.weigh_pod(plan.key.pod, &plan.pod);
            // Behind containerd's back, which would write it down as the container's own limit.
            plan.held_to.map_or(Ok(true), |held_to| throttle::set_cpu_limit(&folders, Some(held_to)))
        };
        tokio::task::spawn_blocking(after).await.expect("writing a cgroup does not panic").map(drop)
    }
}

/// The limits as an OCI runtime takes them: what is not named keeps its own, and -1 is no limit.
fn resources(plan: &ResizePlan, limits_swap: bool) -> Value {
    let resources = &plan.resources;
    let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    let quota = resources.cpu_limit.map_or(-1, |limit| signed(quota_us(limit)));
    let memory = resources.memory_limit.map_or(-1, |limit| signed(limit.0));
    let shares = spec::shares(resources.cpu_request.or(resources.cpu_limit).map(|cpu| cpu.0));
    let mut all = json!({
        "cpu": { "shares": shares, "quota": quota, "period": CPU_PERIOD_US },
        "memory": { "limit": memory },
    });
    if limits_swap {
        // As when it was made: its limit is its limit, without swap.
        all["memory"]["swap"] = memory.into();
    }
    all
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use purser_actors::port::ContainerKey;
    use purser_events::pod::spec::Resources;
    use purser_events::{Bytes, ContainerName, MilliCpu, PodUid};

    use super::*;

    fn plan(given: Resources) -> ResizePlan {
        let container = ContainerName::new("main").unwrap();
        let key = ContainerKey { pod: PodUid(uuid::Uuid::nil()), container, attempt: 1 };
        let document = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web" },
            "spec": { "containers": [{ "name": "main", "command": ["true"] }] },
        });
        let pod = crate::manifest::pod_spec(document, &crate::manifest::Defaults::default()).unwrap();
        ResizePlan { key, resources: given, pod: Arc::new(pod), held_to: None }
    }

    #[test]
    fn what_is_no_limit_any_more_is_told_as_that() {
        let limits = Resources {
            cpu_limit: Some(MilliCpu(500)),
            cpu_request: Some(MilliCpu(250)),
            memory_limit: Some(Bytes(64 << 20)),
            ..Resources::default()
        };
        assert_eq!(
            resources(&plan(limits), true),
            json!({
                "cpu": { "shares": 256, "quota": 50_000, "period": 100_000 },
                "memory": { "limit": 64 << 20, "swap": 64 << 20 },
            })
        );
        assert_eq!(
            resources(&plan(Resources::default()), false),
            json!({
                "cpu": { "shares": 2, "quota": -1, "period": 100_000 },
                "memory": { "limit": -1 },
            })
        );
    }
}
