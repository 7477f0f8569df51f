//! Names of pods as they are typed: `NAME`, `NAMESPACE/NAME` or `pod/NAME`.

use purser_events::PodId;

use super::client::encoded;
use super::failure::Failure;

/// The namespace of pods that are named without one.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// Reads a name.
pub(super) fn parse(text: &str, namespace: Option<&str>) -> Result<PodId, Failure> {
    let default = namespace.unwrap_or(DEFAULT_NAMESPACE);
    let (space, name) = match text.split_once('/') {
        Some(("pod" | "pods" | "po", name)) => (default, name),
        Some((space, name)) => (space, name),
        None => (default, text),
    };
    PodId::new(space, name).map_err(|error| Failure::Usage(format!("`{text}` is no pod's name: it {error}")))
}

/// The path of a pod in the API, with what follows it.
pub(super) fn path(id: &PodId, rest: &str) -> String {
    format!("/v1/namespaces/{}/pods/{}{rest}", encoded(id.namespace()), encoded(id.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_carry_their_namespace() {
        let of = |text| parse(text, Some("ml")).map(|id| id.to_string()).ok();
        assert_eq!(of("web").as_deref(), Some("ml/web"));
        assert_eq!(of("pod/web").as_deref(), Some("ml/web"));
        assert_eq!(of("shop/web").as_deref(), Some("shop/web"));
        assert_eq!(of("../web"), None);
    }
}
