//! The fields of a `v1` Pod that Purser runs, and why some others are refused.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use purser_events::ledger::policy::PRIORITY_MAX;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string.
    Text,
    /// A map from strings to strings.
    TextMap,
    /// `true` or `false`.
    Flag,
    /// `true` alone, or `false` alone: the other would promise what Purser doesn't do.
    Only(bool),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number within these bounds.
    Whole(i64, i64),
    /// A number with an optional suffix.
    Quantity,
    /// A number of things, as a number or as text.
    Count,
    /// A port's number or its name.
    Port,
    /// `{}`.
    Empty,
}

/// A field that Purser supports.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// Where it is, as in `spec.containers[].name`.
    pub(super) pattern: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
    /// What it means, what holds without it, and what is refused.
    pub(super) note: &'static str,
}

const SECONDS: Kind = Kind::Whole(0, i32::MAX as i64);
const COUNT: Kind = Kind::Whole(0, i32::MAX as i64);
/// As in Kubernetes, whose ids end where a signed 32-bit number does.
const ID: Kind = Kind::Whole(0, i32::MAX as i64);
const PORT_NUMBER: Kind = Kind::Whole(1, 65_535);

pub(super) const fn field(pattern: &'static str, kind: Kind, note: &'static str) -> Field {
    Field { pattern, kind, note }
}

/// Fields outside containers.
pub(super) const POD_FIELDS: &[Field] = &[
    field("apiVersion", Kind::Word(&["v1"]), "required"),
    field("kind", Kind::Word(&["Pod"]), "required; a `v1` `List` of Pods is taken apart"),
    field("metadata.name", Kind::Text, "required; a DNS subdomain of at most 253 characters"),
    field("metadata.namespace", Kind::Text, "a DNS label; `default` if absent"),
    field("metadata.labels", Kind::TextMap, "keys and values as in Kubernetes"),
    field("metadata.annotations", Kind::TextMap, "keys as in Kubernetes; with labels at most 32 KiB"),
    field(
        "spec.runtimeClassName",
        Kind::Word(&["process", "containerd"]),
        "what runs the containers; the node's default if absent",
    ),
    field("spec.restartPolicy", Kind::Word(&["Always", "OnFailure", "Never"]), "`Always` if absent"),
    field(
        "spec.priority",
        Kind::Whole(i32::MIN as i64, PRIORITY_MAX as i64),
        "who comes first where not all find room: more before less; 0 if absent",
    ),
    field("spec.terminationGracePeriodSeconds", SECONDS, "from SIGTERM to SIGKILL; 30 if absent"),
    field("spec.securityContext.runAsUser", ID, "for containers that don't say otherwise"),
    field("spec.securityContext.runAsGroup", ID, "for containers that don't say otherwise"),
    field("spec.securityContext.runAsNonRoot", Kind::Flag, "for containers that don't say otherwise"),
    field("spec.securityContext.fsGroup", ID, "supplementary group that owns `emptyDir` volumes"),
    field("spec.volumes[].name", Kind::Text, "required; a DNS label, given once"),
    field(
        "spec.volumes[].emptyDir",
        Kind::Empty,
        "a new folder on the node's disk that lives as long as the pod",
    ),
    field(
        "spec.volumes[].hostPath.path",
        Kind::Text,
        "required; absolute, without `..`, below an allowed root",
    ),
    field(
        "spec.volumes[].hostPath.type",
        Kind::Word(&["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File"]),
        "no check is made if absent or empty",
    ),
    field("spec.hostNetwork", Kind::Only(true), "pods share the node's network, with or without this"),
    field(
        "spec.dnsPolicy",
        Kind::Word(&["Default", "ClusterFirst"]),
        "the node's resolver, which for pods on the node's network both mean",
    ),
    field("spec.enableServiceLinks", Kind::Only(false), "there are no services to make variables from"),
    field("spec.automountServiceAccountToken", Kind::Only(false), "there are no service accounts"),
    field("spec.os.name", Kind::Word(&["linux"]), "the node runs Linux"),
    field("status", Kind::Empty, "a status is the node's to say: leave it out"),
];

/// Fields of a container of either kind, below `spec.containers[]` and `spec.initContainers[]`.
pub(super) const CONTAINER_FIELDS: &[Field] = &[
    field("name", Kind::Text, "required; a DNS label, given once in the pod"),
    field("image", Kind::Text, "as the runtime asks: `containerd` needs one, `process` has none"),
    field(
        "imagePullPolicy",
        Kind::Word(&["Always", "IfNotPresent", "Never"]),
        "if absent `Always` for `:latest` or no tag, else `IfNotPresent`",
    ),
    field("command[]", Kind::Text, "replaces the image's entrypoint; `$(VAR)` is expanded"),
    field("args[]", Kind::Text, "replaces the image's arguments; `$(VAR)` is expanded"),
    field("env[].name", Kind::Text, "required; printable ASCII without `=`, given once"),
    field("env[].value", Kind::Text, "empty if absent; `$(VAR)` of variables before it is expanded"),
    field("workingDir", Kind::Text, "absolute; the image's, or `/`, if absent"),
    field("ports[].containerPort", PORT_NUMBER, "required; a port of the node, given once in the pod"),
    field("ports[].hostPort", PORT_NUMBER, "equal to `containerPort` if given"),
    field("ports[].name", Kind::Text, "at most 15 characters, given once in the container"),
    field("ports[].protocol", Kind::Word(&["TCP", "UDP"]), "`TCP` if absent"),
    field("resources.limits.cpu", Kind::Quantity, "more than 0; no limit if absent"),
    field("resources.limits.memory", Kind::Quantity, "more than 0; no limit if absent"),
    field(
        "resources.limits.ephemeral-storage",
        Kind::Quantity,
        "room on disk, more than 0; no limit if absent",
    ),
    field(
        "resources.limits.DOMAIN/NAME",
        Kind::Count,
        "from 1; `nvidia.com/gpu` for whole GPUs, else what the operator counts, as in `example.com/dongle`",
    ),
    field("resources.requests.cpu", Kind::Quantity, "at most the limit; the limit if absent"),
    field("resources.requests.memory", Kind::Quantity, "at most the limit; the limit if absent"),
    field("resources.requests.ephemeral-storage", Kind::Quantity, "at most the limit; the limit if absent"),
    field("resources.requests.DOMAIN/NAME", Kind::Count, "the same as in `limits`, where it must stand"),
    field("volumeMounts[].name", Kind::Text, "required; a volume of the pod"),
    field("volumeMounts[].mountPath", Kind::Text, "required; absolute, without `..` or `:`, given once"),
    field("volumeMounts[].readOnly", Kind::Flag, "`false` if absent"),
    field("securityContext.runAsUser", ID, "the pod's, else the image's, if absent"),
    field("securityContext.runAsGroup", ID, "the pod's, else the image's, if absent"),
    field("securityContext.runAsNonRoot", Kind::Flag, "the pod's, else `false`, if absent"),
    field("securityContext.allowPrivilegeEscalation", Kind::Flag, "`true` if absent"),
];

/// Fields of a probe, below each of [`PROBES`].
pub(super) const PROBE_FIELDS: &[Field] = &[
    field("exec.command[]", Kind::Text, "required for `exec`; exit code 0 is success"),
    field(
        "httpGet.port",
        Kind::Port,
        "required for `httpGet`; a number, or the name of a port of the container",
    ),
    field("httpGet.path", Kind::Text, "`/` if absent"),
    field("httpGet.host", Kind::Text, "the node itself if absent"),
    field("httpGet.scheme", Kind::Word(&["HTTP"]), "probes don't speak TLS"),
    field("httpGet.httpHeaders[].name", Kind::Text, "required; letters, digits and `-`"),
    field("httpGet.httpHeaders[].value", Kind::Text, "one line"),
    field(
        "tcpSocket.port",
        Kind::Port,
        "required for `tcpSocket`; a number, or the name of a port of the container",
    ),
    field("tcpSocket.host", Kind::Text, "the node itself if absent"),
    field("initialDelaySeconds", SECONDS, "0 if absent"),
    field("periodSeconds", SECONDS, "10 if absent or 0"),
    field("timeoutSeconds", SECONDS, "1 if absent or 0"),
    field("successThreshold", COUNT, "1 if absent or 0; must be 1 for liveness and startup"),
    field("failureThreshold", COUNT, "3 if absent or 0"),
];

/// The probes of a container of `spec.containers[]`.
pub(super) const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// Why a field of Kubernetes is refused, where more can be said than that it is not supported. For container
/// fields both kinds of container are meant.
const REFUSALS: &[(&str, &str)] = &[
    ("metadata.generateName", "give a name"),
    ("status", "a status is the node's to say: leave it out"),
    ("spec.priorityClassName", "there are no classes: give the number in spec.priority"),
    ("spec.preemptionPolicy", "the node's policy says whether pods make way for others"),
    ("spec.nodeName", "a pod runs on the node that it is given to"),
    ("spec.initContainers[].restartPolicy", "init containers run to their end; there are no sidecars"),
    ("spec.initContainers[].livenessProbe", "init containers have no probes"),
    ("spec.initContainers[].readinessProbe", "init containers have no probes"),
    ("spec.initContainers[].startupProbe", "init containers have no probes"),
    ("spec.containers[].env[].valueFrom", "write the value"),
    (
        "spec.containers[].env[].valueFrom.secretKeyRef",
        "a secret is never put in the journal; mount a file that holds it",
    ),
    ("spec.volumes[].emptyDir.medium", "an emptyDir is on the node's disk"),
    ("spec.volumes[].emptyDir.sizeLimit", "an emptyDir has no limit of its own"),
    ("spec.volumes[].secret", "a secret is never put in the journal; mount a file that holds it"),
];

/// More on why the field at this pattern is refused, if there is more to say.
pub(super) fn refusal(pattern: &str) -> Option<&'static str> {
    let either = pattern.replacen("spec.initContainers[]", "spec.containers[]", 1);
    let found = |wanted: &str| REFUSALS.iter().find(|(pattern, _)| *pattern == wanted).map(|(_, why)| *why);
    found(pattern).or_else(|| found(&either))
}

/// A field that manifests may have, as documentation shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportedField {
    /// Where it is, as in `spec.containers[].name`.
    pub path: String,
    /// What it holds.
    pub holds: String,
    /// What it means, what holds without it, and what is refused.
    pub note: &'static str,
}

/// Every field that a manifest may have.
#[must_use]
pub fn supported_fields() -> Vec<SupportedField> {
    let mut fields: Vec<SupportedField> = all().into_iter().map(shown).collect();
    let behind = fields.iter().position(|field| field.path == "metadata.annotations").map_or(0, |at| at + 1);
    fields.splice(behind..behind, super::annotation::supported());
    fields
}

/// A field as documentation shows it.
pub(super) fn shown((path, field): (String, &Field)) -> SupportedField {
    SupportedField { path, holds: field.kind.shown(), note: field.note }
}

fn all() -> Vec<(String, &'static Field)> {
    let at = |prefix: &str, fields: &'static [Field]| -> Vec<(String, &'static Field)> {
        fields.iter().map(|field| (format!("{prefix}{}", field.pattern), field)).collect()
    };
    let mut all = at("", POD_FIELDS);
    all.extend(at("spec.containers[].", CONTAINER_FIELDS));
    for probe in PROBES {
        all.extend(at(&format!("spec.containers[].{probe}."), PROBE_FIELDS));
    }
    all.extend(at("spec.initContainers[].", CONTAINER_FIELDS));
    all
}

impl Kind {
    /// What it holds, for people.
    pub(super) fn shown(self) -> String {
        match self {
            Kind::Text => "string".into(),
            Kind::TextMap => "map of strings".into(),
            Kind::Flag => "boolean".into(),
            Kind::Only(value) => format!("`{value}`"),
            Kind::Word(words) => {
                let quoted: Vec<String> =
                    words.iter().map(|word| format!("`{}`", shown_word(word))).collect();
                quoted.join(", ")
            }
            Kind::Whole(min, max) if max == i64::from(i32::MAX) => format!("whole number from {min}"),
            Kind::Whole(min, max) => format!("whole number from {min} to {max}"),
            Kind::Quantity => "quantity".into(),
            Kind::Count => "whole number".into(),
            Kind::Port => "port number or name".into(),
            Kind::Empty => "`{}`".into(),
        }
    }
}

/// A word as it is written in a manifest.
pub(super) fn shown_word(word: &str) -> &str {
    if word.is_empty() { "\"\"" } else { word }
}

/// The key under which [`Shape::Object`] has what any key of the form `domain/name` holds. No field has such a name.
const ANY_DOMAIN: &str = "DOMAIN/NAME";

/// What a map has under a key, if it may have that key.
pub(super) fn at_key<'a>(fields: &'a BTreeMap<&'static str, Shape>, key: &str) -> Option<&'a Shape> {
    fields.get(key).or_else(|| fields.get(ANY_DOMAIN).filter(|_| key.contains('/')))
}

/// The supported fields as a tree.
#[derive(Debug)]
pub(super) enum Shape {
    /// A map with these keys.
    Object(BTreeMap<&'static str, Shape>),
    /// A list of these.
    List(Box<Shape>),
    /// A field.
    Leaf(&'static Field),
}

/// The shape of a whole manifest.
pub(super) static POD: LazyLock<Shape> = LazyLock::new(|| {
    let mut container = object(CONTAINER_FIELDS);
    let init_container = object(CONTAINER_FIELDS);
    for probe in PROBES {
        insert_shape(&mut container, probe, object(PROBE_FIELDS));
    }
    let mut pod = object(POD_FIELDS);
    if let Shape::Object(fields) = &mut pod
        && let Some(spec) = fields.get_mut("spec")
    {
        insert_shape(spec, "containers", Shape::List(Box::new(container)));
        insert_shape(spec, "initContainers", Shape::List(Box::new(init_container)));
    }
    pod
});

/// The tree of these fields.
pub(super) fn object(fields: &'static [Field]) -> Shape {
    let mut shape = Shape::Object(BTreeMap::new());
    for field in fields {
        let steps: Vec<&'static str> = field.pattern.split('.').collect();
        insert(&mut shape, &steps, field);
    }
    shape
}

fn insert(shape: &mut Shape, steps: &[&'static str], field: &'static Field) {
    let Shape::Object(fields) = shape else { return };
    let Some((step, rest)) = steps.split_first() else { return };
    let (name, is_list) = step.strip_suffix("[]").map_or((*step, false), |name| (name, true));
    let leaf_or_object = || match rest {
        [] => Shape::Leaf(field),
        [_, ..] => Shape::Object(BTreeMap::new()),
    };
    let child = fields.entry(name).or_insert_with(|| match is_list {
        true => Shape::List(Box::new(leaf_or_object())),
        false => leaf_or_object(),
    });
    match child {
        Shape::List(element) => insert(element, rest, field),
        Shape::Object(_) | Shape::Leaf(_) => insert(child, rest, field),
    }
}

fn insert_shape(shape: &mut Shape, name: &'static str, child: Shape) {
    if let Shape::Object(fields) = shape {
        fields.insert(name, child);
    }
}
