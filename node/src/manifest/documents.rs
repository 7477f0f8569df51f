//! Text to documents: YAML or JSON, bounded before and while it is read.

use serde_json::Value;

use super::error::{FieldErrors, ManifestError};

/// What a text of manifests may cost. What is over a limit is refused, never cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole text.
    pub text_bytes_max: usize,
    /// Bytes of one document.
    pub document_bytes_max: usize,
    /// Documents in the text, those in lists included.
    pub documents_max: usize,
    /// Maps and lists within each other.
    pub depth_max: usize,
    /// Maps, lists and scalars of one document, aliases followed.
    pub nodes_max: usize,
    /// Bytes that aliases may add to one document.
    pub alias_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            text_bytes_max: 4 << 20,
            document_bytes_max: 256 << 10,
            documents_max: 100,
            depth_max: 32,
            nodes_max: 20_000,
            alias_bytes_max: 8 << 20,
        }
    }
}

/// Splits YAML (several documents) or JSON (one object or a `List`) into values; empty documents are left out.
///
/// # Errors
/// The text is too large, is not UTF-8, or is not YAML: then with document, line and column, each from 1.
pub fn documents(text: &[u8], limits: &Limits) -> Result<Vec<Value>, ManifestError> {
    if text.len() > limits.text_bytes_max {
        let bytes_max = limits.text_bytes_max;
        return Err(ManifestError::TextTooLarge { bytes: text.len(), bytes_max });
    }
    let text = checked_text(text)?;
    let mut values = Vec::new();
    for (position, chunk) in chunks(text).into_iter().enumerate() {
        let document = position + 1;
        if chunk.text.len() > limits.document_bytes_max {
            let bytes_max = limits.document_bytes_max;
            return Err(ManifestError::DocumentTooLarge { document, bytes: chunk.text.len(), bytes_max });
        }
        match parse(&chunk, document, limits)? {
            Value::Null => {}
            value if is_list(&value) => values.extend(list_items(value)?),
            value => values.push(value),
        }
        if values.len() > limits.documents_max {
            return Err(ManifestError::TooManyDocuments { documents_max: limits.documents_max });
        }
    }
    Ok(values)
}

/// Text without a byte order mark, with neither broken UTF-8 nor NUL in it.
fn checked_text(bytes: &[u8]) -> Result<&str, ManifestError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let syntax = |offset: usize, message: &str| {
        let before = &bytes[..offset];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        // What precedes is valid UTF-8: one column for each character.
        let column = 1 + String::from_utf8_lossy(&before[line_start..]).chars().count();
        let before = String::from_utf8_lossy(before);
        ManifestError::Syntax {
            document: chunks(&before).len().max(1),
            line,
            column,
            message: message.into(),
        }
    };
    let text = std::str::from_utf8(bytes).map_err(|error| syntax(error.valid_up_to(), "is not UTF-8"))?;
    match bytes.iter().position(|&byte| byte == 0) {
        Some(offset) => Err(syntax(offset, "must not contain a NUL character")),
        None => Ok(text),
    }
}

/// One document as text.
struct Chunk<'a> {
    text: &'a str,
    lines_before: usize,
}

/// Splits at `---` in the first column, which YAML allows nowhere but between documents.
fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    let (mut has_content, mut has_directive) = (false, false);
    for (line, line_text) in text.split_inclusive('\n').enumerate() {
        let after_marker = line_text.strip_prefix("---");
        if after_marker.is_some_and(|after| after.is_empty() || after.starts_with([' ', '\t', '\r', '\n'])) {
            if has_content {
                chunks.push(Chunk { text: &text[start..offset], lines_before: start_line });
            }
            // Directives before it are for the YAML version, of which one is read, and for tags, of which none is.
            (start, start_line, has_content, has_directive) = (offset, line, true, false);
        } else if line_text.starts_with('%') && !has_content {
            has_directive = true;
        } else {
            let trimmed = line_text.trim_start();
            has_content |= !trimmed.is_empty() && !trimmed.starts_with('#');
        }
        offset += line_text.len();
    }
    if has_content || has_directive {
        chunks.push(Chunk { text: &text[start..], lines_before: start_line });
    }
    chunks
}

fn parse(chunk: &Chunk<'_>, document: usize, limits: &Limits) -> Result<Value, ManifestError> {
    let parsed: Result<Value, serde_saphyr::Error> =
        serde_saphyr::from_str_with_options(chunk.text, options(chunk.text.len(), limits));
    parsed.map_err(|error| {
        let location = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).max(1);
        ManifestError::Syntax {
            document,
            line: chunk.lines_before + number(location.line()),
            column: number(location.column()),
            message: message(&error),
        }
    })
}

/// Longest message of the parser that is passed on, in characters.
const MESSAGE_LEN_MAX: usize = 300;

/// What is wrong, on one line, without the place that is reported beside it and in words of manifests where the
/// parser's are about its own settings.
fn message(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as E;
    use serde_saphyr::budget::BudgetBreach as Breach;
    let known = match error.without_snippet() {
        E::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map(super::path::key).unwrap_or_default();
            return format!("the key {key} is given more than once");
        }
        E::NonFiniteFloat { .. } => "must be a finite number; put it in quotes if it is text",
        E::RecursiveReferencesRequireWeakTypes { .. } => "an alias must not refer to what it stands in",
        E::AliasReplayLimitExceeded { .. }
        | E::AliasExpansionLimitExceeded { .. }
        | E::AliasReplayStackDepthExceeded { .. } => "aliases make the document too large",
        E::Budget { breach, .. } => match breach {
            Breach::Depth { .. } => "maps and lists are nested too deeply",
            Breach::Documents { .. } => "another document must begin with ---",
            Breach::Events { .. } | Breach::Nodes { .. } => "the document has too many values",
            Breach::Aliases { .. } | Breach::Anchors { .. } | Breach::AliasAnchorRatio { .. } => {
                "the document has too many anchors and aliases"
            }
            Breach::MergeKeys { .. } => "the document has too many merge keys",
            // The parser may learn to count more things.
            _ => "the document is too large",
        },
        other => return parser_message(other),
    };
    known.to_owned()
}

fn parser_message(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(MESSAGE_LEN_MAX).collect()
}

/// What scalars mean is what kubectl takes them for (YAML 1.1: `yes` is a boolean, `0755` is octal), so that a
/// manifest never means one thing there and another here.
fn options(text_len: usize, limits: &Limits) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: limits.depth_max,
            flow_nesting_limit: limits.depth_max,
            max_nodes: limits.nodes_max,
            max_events: limits.nodes_max.saturating_mul(2),
            max_documents: 1,
            max_aliases: 200,
            max_anchors: 200,
            max_recorded_anchor_events: limits.nodes_max,
            max_merge_keys: 200,
        },
        alias_limits: serde_saphyr::alias_limits! {
            // Each replayed event adds at most the whole text once more.
            max_total_replayed_events: (limits.alias_bytes_max / text_len.max(1)).min(limits.nodes_max),
            max_replay_stack_depth: 8,
        },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::Reject,
        emit_comments: false,
        legacy_octal_numbers: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn is_list(value: &Value) -> bool {
    value.get("kind").and_then(Value::as_str) == Some("List")
}

/// The items of a `v1` `List`, as kubectl writes for several objects.
fn list_items(value: Value) -> Result<Vec<Value>, ManifestError> {
    let mut errors = FieldErrors::default();
    let mut items = Vec::new();
    let Value::Object(fields) = value else { return Ok(vec![value]) };
    if fields.get("apiVersion").and_then(Value::as_str) != Some("v1") {
        errors.add("apiVersion", "must be v1");
    }
    for (name, field) in fields {
        match (name.as_str(), field) {
            // A list has no name of its own: kubectl writes an empty version here and nothing else.
            ("apiVersion" | "kind" | "metadata", _) => {}
            ("items", Value::Array(values)) => items = values,
            ("items", _) => errors.add("items", "must be a list"),
            (other, _) => errors.add(&super::path::key(other), "unknown field"),
        }
    }
    errors.into_result(items)
}
