//! An `apps/v1` Deployment turned into the manifest of a pool, with a note on everything that does not hold any more as
//! it was written. Nothing here sends anything.

mod note;
mod replicas;
mod scaler;
mod template;

use serde_json::{Map, Value, json};

use self::note::Notes;
use self::scaler::Scaler;
use crate::manifest::{API_VERSION, KIND, shown_key};

pub use self::note::{Becomes, Note};

/// What to go by where the Deployment does not say.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// What the pool is to be called; as the Deployment if none.
    pub name: Option<String>,
    /// Pods that there are to be at least.
    pub min: Option<u32>,
    /// Pods that there are to be at most.
    pub max: Option<u32>,
}

/// A Deployment as a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    /// What the Deployment is called, shown.
    pub deployment: String,
    /// The namespace of both.
    pub namespace: String,
    /// The pool's manifest.
    pub manifest: Value,
    /// What became of what the Deployment says, apart from what holds as it was written.
    pub notes: Vec<Note>,
}

impl Converted {
    /// What has to be seen to before the pool can take the Deployment's place.
    pub fn open(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(|note| note.becomes == Becomes::Open)
    }
}

/// What a file of Kubernetes' objects came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Pools {
    /// Its Deployments, in order.
    pub pools: Vec<Converted>,
    /// Objects of other kinds, shown.
    pub others: Vec<String>,
}

/// Turns the Deployments of a file into pools. HorizontalPodAutoscalers of these are taken into account.
#[must_use]
pub fn convert(documents: Vec<Value>, wish: &Wish) -> Pools {
    let mut scalers: Vec<Scaler> = documents.iter().filter_map(Scaler::read).collect();
    let mut found = Pools { pools: vec![], others: vec![] };
    for document in documents {
        let text = |field| document.get(field).and_then(Value::as_str).unwrap_or_default();
        match (text("apiVersion"), text("kind")) {
            ("apps/v1", "Deployment") => {
                let fields = map(Some(document), "", &mut Notes::default());
                found.pools.push(deployment(fields, wish, &mut scalers));
            }
            (_, "HorizontalPodAutoscaler") => {}
            (version, kind) => {
                let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("?");
                found.others.push(format!(
                    "{} {} ({})",
                    shown_key(kind),
                    shown_key(name),
                    shown_key(version)
                ));
            }
        }
    }
    found.others.extend(scalers.into_iter().map(|scaler| scaler.shown()));
    found
}

fn deployment(mut fields: Map<String, Value>, wish: &Wish, scalers: &mut Vec<Scaler>) -> Converted {
    let mut notes = Notes::default();
    let mut metadata = map(fields.remove("metadata"), "metadata", &mut notes);
    let mut spec = map(fields.remove("spec"), "spec", &mut notes);
    for field in ["apiVersion", "kind", "status"] {
        fields.remove(field);
    }
    notes.left_out_all("", fields, "is no field of a Deployment");
    let name = text(metadata.remove("name"), "metadata.name", &mut notes);
    let namespace = text(metadata.remove("namespace"), "metadata.namespace", &mut notes);
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    notes.of_metadata(metadata);
    let deployment = name.clone().unwrap_or_else(|| "?".to_owned());
    let scaler = scalers.iter().position(|scaler| scaler.is_of(&namespace, &deployment));
    let scaler = scaler.map(|at| scalers.remove(at));
    let replicas = replicas::bounds(spec.remove("replicas"), scaler, wish, &mut notes);
    let max_unavailable = replicas::max_unavailable(spec.remove("strategy"), replicas, &mut notes);
    let template = template::template(spec.remove("template"), replicas.1, &mut notes);
    notes.of_spec(spec);
    let (secrets, configs) = (refs(&template.secrets), refs(&template.configs));
    let mut of_pool = json!({
        "replicas": { "min": replicas.0, "max": replicas.1 },
        "slots": { "policy": "seed", "count": 3 },
        "template": template.value,
    });
    if let Value::Object(of_pool) = &mut of_pool {
        let mut add = |name: &str, value: Value, wanted: bool| {
            if wanted {
                of_pool.insert(name.to_owned(), value);
            }
        };
        add("scaling", json!({ "maxUnavailable": max_unavailable }), max_unavailable.is_some());
        add("secretRefs", json!(secrets), !secrets.is_empty());
        add("configRefs", json!(configs), !configs.is_empty());
    }
    let named = wish.name.clone().or(name).unwrap_or_default();
    if wish.name.as_ref().is_some_and(|wanted| *wanted != deployment) {
        notes.changed("metadata.name", format!("the pool is called {}", shown_key(&named)));
    }
    let manifest = json!({
        "apiVersion": API_VERSION, "kind": KIND,
        "metadata": { "name": named, "namespace": namespace },
        "spec": of_pool,
    });
    Converted { deployment: shown_key(&deployment), namespace, notes: notes.checked(&manifest), manifest }
}

fn refs(names: &std::collections::BTreeSet<String>) -> Vec<Value> {
    names.iter().map(|name| json!({ "name": name })).collect()
}

/// A map that may be absent; one that is something else is named.
fn map(value: Option<Value>, path: &str, notes: &mut Notes) -> Map<String, Value> {
    match value {
        Some(Value::Object(fields)) => fields,
        None | Some(Value::Null) => Map::new(),
        Some(_) => {
            notes.open(path, "is no map");
            Map::new()
        }
    }
}

/// Text that may be absent; what is something else is named.
fn text(value: Option<Value>, path: &str, notes: &mut Notes) -> Option<String> {
    match value {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        None | Some(Value::Null | Value::String(_)) => None,
        Some(_) => {
            notes.open(path, "is no string");
            None
        }
    }
}
