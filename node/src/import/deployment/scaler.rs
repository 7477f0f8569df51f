//! HorizontalPodAutoscalers, as far as they say how many pods a Deployment may have.

use serde_json::Value;

use crate::manifest::shown_key;

/// What an autoscaler says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scaler {
    name: String,
    namespace: String,
    target: String,
    min: Option<u32>,
    max: Option<u32>,
}

impl Scaler {
    /// An autoscaler of a Deployment; none if it is something else.
    pub(super) fn read(document: &Value) -> Option<Scaler> {
        let text = |path: &str| document.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let number =
            |path: &str| document.pointer(path)?.as_u64().and_then(|number| u32::try_from(number).ok());
        if text("/kind")? != "HorizontalPodAutoscaler" || !text("/apiVersion")?.starts_with("autoscaling/") {
            return None;
        }
        if text("/spec/scaleTargetRef/kind")? != "Deployment" {
            return None;
        }
        Some(Scaler {
            name: text("/metadata/name").unwrap_or_default(),
            namespace: text("/metadata/namespace").unwrap_or_else(|| "default".to_owned()),
            target: text("/spec/scaleTargetRef/name")?,
            min: number("/spec/minReplicas"),
            max: number("/spec/maxReplicas"),
        })
    }

    /// Whether it is of this Deployment.
    pub(super) fn is_of(&self, namespace: &str, deployment: &str) -> bool {
        self.namespace == namespace && self.target == deployment
    }

    /// Pods at least and at most; `replicas` where it does not say how many at most.
    pub(super) fn bounds(&self, replicas: u32) -> (u32, u32) {
        let min = self.min.unwrap_or(1);
        (min, self.max.unwrap_or(replicas).max(min).max(1))
    }

    pub(super) fn shown(&self) -> String {
        format!("HorizontalPodAutoscaler {}", shown_key(&self.name))
    }
}
