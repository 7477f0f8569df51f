//! A file of legacy quotas, as JSON, YAML or CSV, taken apart into one list of fields for each tenant.

use serde_json::{Map, Value};

use super::csv::{CsvError, Records};
use super::field::{GROUPS, TENANT_ID, full_path};
use crate::manifest::{self, Limits, ManifestError};

/// Most bytes of a file.
pub const TABLE_BYTES_MAX: usize = 16 << 20;
/// Most tenants of a file.
pub const TENANTS_MAX: usize = 10_000;
/// Most columns of a table.
const COLUMNS_MAX: usize = 256;
/// Maps, lists and scalars of a file: a quota in full has some thirty.
const NODES_MAX: usize = TENANTS_MAX * 100;
/// Maps and lists within each other.
const DEPTH_MAX: usize = 16;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML or JSON, which is YAML too.
    Yaml,
    /// Comma-separated values, with the names of the columns on the first line.
    Csv,
}

/// Why a file is not read. What is wrong with one tenant alone is in its report instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The file is too large.
    #[error("has more than {TABLE_BYTES_MAX} bytes: take it apart")]
    TooLarge,
    /// The file has too many tenants.
    #[error("has more than {TENANTS_MAX} tenants: take it apart")]
    TooMany,
    /// It is not YAML or JSON.
    #[error("{0}")]
    Syntax(#[from] ManifestError),
    /// It is no table.
    #[error("line {line}: {message}")]
    Table {
        /// Line of the file, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// It has something else than quotas.
    #[error("{place} must be {expected}")]
    Shape {
        /// Where in the file.
        place: String,
        /// What is wanted there.
        expected: &'static str,
    },
    /// There is nothing in it.
    #[error("there is no quota in it")]
    Empty,
}

impl From<CsvError> for ImportError {
    fn from(CsvError { line, message }: CsvError) -> ImportError {
        ImportError::Table { line, message: message.to_owned() }
    }
}

/// One tenant's quota as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// The tenant's name; none if it is not given.
    pub(super) id: Option<Value>,
    /// Its fields, by their whole paths. Only fields of maps that hold none are maps.
    pub(super) fields: Vec<(String, Value)>,
}

/// Takes a file apart.
///
/// As YAML or JSON it is a list of quotas, one quota, or a map from tenants' names to quotas, and any of these may stand
/// below `quotas` or `tenants`. As CSV it has a line for each quota and a column for each field, by its path or by its
/// last part.
///
/// # Errors
/// It is too large, not of that form, or has nothing in it.
pub fn read(text: &[u8], format: Format) -> Result<Vec<Quota>, ImportError> {
    if TABLE_BYTES_MAX < text.len() {
        return Err(ImportError::TooLarge);
    }
    let quotas = match format {
        Format::Yaml => documents(text)?,
        Format::Csv => table(text)?,
    };
    match quotas.len() {
        0 => Err(ImportError::Empty),
        1..=TENANTS_MAX => Ok(quotas),
        _ => Err(ImportError::TooMany),
    }
}

fn documents(text: &[u8]) -> Result<Vec<Quota>, ImportError> {
    let limits = Limits {
        text_bytes_max: TABLE_BYTES_MAX,
        document_bytes_max: TABLE_BYTES_MAX,
        documents_max: TENANTS_MAX,
        depth_max: DEPTH_MAX,
        nodes_max: NODES_MAX,
        alias_bytes_max: TABLE_BYTES_MAX,
    };
    let mut quotas = Vec::new();
    for (index, document) in manifest::documents(text, &limits)?.into_iter().enumerate() {
        quotas.extend(of_document(unwrapped(document), &format!("document {}", index + 1))?);
    }
    Ok(quotas)
}

/// What stands below `quotas` or `tenants`, if that is all there is.
fn unwrapped(document: Value) -> Value {
    let key = document.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.keys().next());
    match key.filter(|key| ["quotas", "tenants"].contains(&key.as_str())).cloned() {
        Some(key) => document.get(&key).cloned().unwrap_or_default(),
        None => document,
    }
}

fn of_document(document: Value, place: &str) -> Result<Vec<Quota>, ImportError> {
    let wrong = |place: String, expected| Err(ImportError::Shape { place, expected });
    match document {
        Value::Array(values) => {
            let mut quotas = Vec::with_capacity(values.len());
            for (index, value) in values.into_iter().enumerate() {
                match value {
                    Value::Object(fields) => quotas.push(quota(None, fields)),
                    _ => return wrong(format!("{place}[{index}]"), "a map: a tenant's quota"),
                }
            }
            Ok(quotas)
        }
        Value::Object(fields) if fields.contains_key(TENANT_ID) => Ok(vec![quota(None, fields)]),
        Value::Object(fields) => by_name(fields, place),
        _ => wrong(place.to_owned(), "a list of quotas, or a map from tenants' names to quotas"),
    }
}

fn by_name(tenants: Map<String, Value>, place: &str) -> Result<Vec<Quota>, ImportError> {
    let named = |(name, value): (String, Value)| match value {
        Value::Object(fields) => Ok(quota(Some(name), fields)),
        _ => {
            let place = format!("{place}: {}", manifest::shown_key(&name));
            Err(ImportError::Shape { place, expected: "a map: the quota of the tenant of that name" })
        }
    };
    tenants.into_iter().map(named).collect()
}

/// A quota with its groups taken apart. A name inside it comes before the one under which it stands.
fn quota(name: Option<String>, fields: Map<String, Value>) -> Quota {
    let mut flat = Vec::new();
    flatten("", fields, &mut flat);
    let own = flat.iter().position(|(path, _)| path == TENANT_ID).map(|at| flat.remove(at).1);
    Quota { id: own.or(name.map(Value::String)), fields: flat }
}

fn flatten(prefix: &str, fields: Map<String, Value>, flat: &mut Vec<(String, Value)>) {
    for (key, value) in fields {
        let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Value::Null => {}
            Value::Object(inner) if GROUPS.contains(&path.as_str()) => flatten(&path, inner, flat),
            value => flat.push((path, value)),
        }
    }
}

fn table(text: &[u8]) -> Result<Vec<Quota>, ImportError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = text.iter().take(error.valid_up_to());
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        ImportError::Table { line, message: "is not UTF-8".to_owned() }
    })?;
    let mut records = Records::new(text);
    let head = records.next().ok_or(ImportError::Empty)??;
    let wrong = |line, message: String| ImportError::Table { line, message };
    let columns: Vec<String> = head.cells.iter().map(|name| full_path(name)).collect();
    if !columns.iter().any(|column| column == TENANT_ID) {
        let message =
            format!("the first line must name the columns, {TENANT_ID} among them, with commas between");
        return Err(wrong(head.line, message));
    }
    if COLUMNS_MAX < columns.len() {
        return Err(wrong(head.line, format!("there are more than {COLUMNS_MAX} columns")));
    }
    if let Some(twice) = columns
        .iter()
        .enumerate()
        .find_map(|(at, column)| columns.iter().take(at).any(|earlier| earlier == column).then_some(column))
    {
        return Err(wrong(
            head.line,
            format!("the column {} is given more than once", manifest::shown_key(twice)),
        ));
    }
    let mut quotas = Vec::new();
    for record in records {
        let record = record?;
        if record.cells.len() != columns.len() {
            let (cells, columns) = (record.cells.len(), columns.len());
            return Err(wrong(
                record.line,
                format!("has {cells} cells, the first line names {columns} columns"),
            ));
        }
        if quotas.len() == TENANTS_MAX {
            return Err(ImportError::TooMany);
        }
        let given = columns.iter().cloned().zip(record.cells).filter(|(_, cell)| !cell.is_empty());
        quotas.push(quota(None, given.map(|(path, cell)| (path, Value::String(cell))).collect()));
    }
    Ok(quotas)
}
