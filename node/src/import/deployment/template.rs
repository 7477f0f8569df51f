//! The pods of a Deployment as the template of a pool: what no pod of the node can have is taken out and named.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::note::Notes;
use super::{map, text};
use crate::manifest::{shown_key, supported_part};

/// Where the template stands, in a Deployment and in a pool.
const AT: &str = "spec.template";

/// How refusals of what a cluster may have begin.
const UNSUPPORTED: [&str; 4] = ["is not supported", "unknown field", "must be true: ", "must be false: "];
/// What a cluster writes into pods that do not say: it changes nothing if it is left out.
const WRITTEN_BY_CLUSTERS: [(&str, &str); 3] = [
    ("terminationMessagePath", "/dev/termination-log"),
    ("terminationMessagePolicy", "File"),
    ("schedulerName", "default-scheduler"),
];

/// The template of a pool, and what its pods read beside their own manifest.
#[derive(Debug, Default)]
pub(super) struct Template {
    pub(super) value: Value,
    pub(super) secrets: BTreeSet<String>,
    pub(super) configs: BTreeSet<String>,
}

/// The template of pods of which there are at most `pods`.
pub(super) fn template(given: Option<Value>, pods: u32, notes: &mut Notes) -> Template {
    let mut found = Template::default();
    let mut fields = map(given, AT, notes);
    let mut metadata = map(fields.remove("metadata"), "spec.template.metadata", notes);
    let mut spec = map(fields.remove("spec"), "spec.template.spec", notes);
    notes.left_out_all("spec.template.", fields, "a template has metadata and spec");
    for key in ["name", "generateName", "creationTimestamp", "namespace"] {
        metadata.remove(key);
    }
    forget_defaults(&mut spec);
    let lost = found.volumes(&mut spec, notes);
    let mut has_images = false;
    for list in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) = spec.get_mut(list) else { continue };
        for (index, container) in containers.iter_mut().enumerate() {
            let Value::Object(container) = container else { continue };
            forget_defaults(container);
            let path = format!("{AT}.spec.{list}[{index}]");
            found.container(container, &path, &lost, notes);
            if pods > 1 {
                ports(container, &path, notes);
            }
            has_images |= container.contains_key("image");
        }
    }
    runtime(&mut spec, has_images, notes);
    found.value = supported(metadata, spec, notes);
    found
}

fn forget_defaults(fields: &mut Map<String, Value>) {
    for (key, default) in WRITTEN_BY_CLUSTERS {
        if fields.get(key).and_then(Value::as_str) == Some(default) {
            fields.remove(key);
        }
    }
}

/// What of a pod can be taken; the rest is named, field by field.
fn supported(metadata: Map<String, Value>, spec: Map<String, Value>, notes: &mut Notes) -> Value {
    let document = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
    let (mut taken, refused) = supported_part(document);
    for error in refused {
        let path = format!("{AT}.{}", error.path);
        // What the node has no place for is left out; what no cluster would take either has to be put right.
        if UNSUPPORTED.iter().any(|words| error.message.starts_with(words)) {
            notes.left_out(&path, error.message);
        } else {
            notes.open(&path, error.message);
        }
    }
    let mut template = Map::new();
    for part in ["metadata", "spec"] {
        let value = taken.get_mut(part).map(Value::take).unwrap_or_default();
        if value.as_object().is_some_and(|fields| !fields.is_empty()) {
            template.insert(part.to_owned(), value);
        }
    }
    Value::Object(template)
}

/// Images need containerd, whatever the node's default is.
fn runtime(spec: &mut Map<String, Value>, has_images: bool, notes: &mut Notes) {
    let given = spec.get("runtimeClassName").and_then(Value::as_str);
    if matches!(given, Some("process" | "containerd")) || !has_images {
        return;
    }
    if let Some(class) = given {
        let why = format!("containerd: the node has no runtime class {}", shown_key(class));
        notes.changed("spec.template.spec.runtimeClassName", why);
    }
    spec.insert("runtimeClassName".to_owned(), json!("containerd"));
}

/// All pods share the node's network: a port that each declares would be there for the first of them alone.
fn ports(container: &mut Map<String, Value>, path: &str, notes: &mut Notes) {
    let is_there = |ports: Value| ports.as_array().is_some_and(|ports| !ports.is_empty());
    if container.remove("ports").is_some_and(is_there) {
        let why = "pods share the node's network, so only one could have them; the annotation purser.dev/ports gives each \
                   pod ports of its own";
        notes.left_out(&format!("{path}.ports"), why);
    }
}

impl Template {
    /// Takes volumes out that the node cannot give, and gives their names.
    fn volumes(&mut self, spec: &mut Map<String, Value>, notes: &mut Notes) -> BTreeSet<String> {
        let mut lost = BTreeSet::new();
        let Some(Value::Array(volumes)) = spec.get_mut("volumes") else { return lost };
        let mut index = 0;
        volumes.retain(|volume| {
            let path = format!("{AT}.spec.volumes[{index}]");
            index += 1;
            let Value::Object(volume) = volume else { return true };
            let named = volume.get("name").and_then(Value::as_str).unwrap_or_default();
            let Some(kind) =
                volume.keys().find(|key| !matches!(key.as_str(), "name" | "emptyDir" | "hostPath"))
            else {
                return true;
            };
            let source = volume.get(kind).unwrap_or(&Value::Null);
            if source.is_null() {
                return true;
            }
            self.source(kind, source);
            let instead = match kind.as_str() {
                "secret" | "configMap" | "projected" => {
                    "have the file on the node, and mount it as a hostPath"
                }
                _ => "mount a hostPath or an emptyDir in its place",
            };
            notes.open(
                &path,
                format!(
                    "there are no volumes of this kind here ({kind}), its mounts are left out too: {instead}"
                ),
            );
            lost.insert(named.to_owned());
            false
        });
        lost
    }

    /// Remembers what a volume reads.
    fn source(&mut self, kind: &str, source: &Value) {
        let text = |path: &str| source.pointer(path).and_then(Value::as_str).map(str::to_owned);
        match kind {
            "secret" => self.secrets.extend(text("/secretName")),
            "configMap" => self.configs.extend(text("/name")),
            "projected" => {
                for part in source.get("sources").and_then(Value::as_array).into_iter().flatten() {
                    let name = |path| part.pointer(path).and_then(Value::as_str).map(str::to_owned);
                    self.secrets.extend(name("/secret/name"));
                    self.configs.extend(name("/configMap/name"));
                }
            }
            _ => {}
        }
    }

    /// Takes out of a container what comes from elsewhere than its manifest.
    fn container(
        &mut self,
        container: &mut Map<String, Value>,
        path: &str,
        lost: &BTreeSet<String>,
        notes: &mut Notes,
    ) {
        if let Some(Value::Array(mounts)) = container.get_mut("volumeMounts") {
            mounts.retain(|mount| {
                mount.get("name").and_then(Value::as_str).is_none_or(|name| !lost.contains(name))
            });
        }
        let mut index = 0;
        if let Some(Value::Array(variables)) = container.get_mut("env") {
            variables.retain(|variable| {
                let at = format!("{path}.env[{index}]");
                index += 1;
                let Some(from) = variable.get("valueFrom").filter(|from| !from.is_null()) else {
                    return true;
                };
                let name = variable.get("name").and_then(Value::as_str).unwrap_or("?");
                let name = shown_key(name);
                notes.open(&at, format!("{name} {}", self.from(from)));
                false
            });
        }
        let Some(Value::Array(sources)) = container.remove("envFrom") else { return };
        for (index, source) in sources.iter().enumerate() {
            let at = format!("{path}.envFrom[{index}]");
            notes.open(&at, format!("every variable of it {}", self.from(source)));
        }
    }

    /// What a variable is taken from, remembered and in words.
    fn from(&mut self, from: &Value) -> String {
        let name = |part: &str| text(from.get(part)?.get("name").cloned(), "", &mut Notes::default());
        let (secret, config) = (
            name("secretKeyRef").or_else(|| name("secretRef")),
            name("configMapKeyRef").or_else(|| name("configMapRef")),
        );
        match (secret, config) {
            (Some(secret), _) => {
                let words = format!(
                    "comes from the secret {}: a secret is never put in the journal; mount a file that holds it",
                    shown_key(&secret)
                );
                self.secrets.insert(secret);
                words
            }
            (None, Some(config)) => {
                let words = format!("comes from the config {}: write the value", shown_key(&config));
                self.configs.insert(config);
                words
            }
            (None, None) => "is filled in by the cluster: write the value".to_owned(),
        }
    }
}
