//! Where the config comes from: defaults, then the file, then the environment; the later wins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, ConfigError, check};

/// Largest config file that is read, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// What every variable that sets a key begins with.
const PREFIX: &str = "PURSER_";

/// Variables with the prefix that are not config keys: the operator's command line has them.
const OTHER_VARIABLES: [&str; 3] = ["PURSER_CONFIG", "PURSER_NAMESPACE", "PURSER_SOCKET"];

/// What defaults depend on.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Whether the service runs as user 0.
    pub root: bool,
    /// The environment.
    pub variables: BTreeMap<String, String>,
}

impl Surroundings {
    /// The process' own; variables that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Surroundings {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Surroundings {
            root: nix::unistd::geteuid().is_root(),
            variables: std::env::vars_os().filter_map(text).collect(),
        }
    }

    fn folder(&self, variable: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.variables.get(variable)?);
        // The XDG rules say that a path which is not absolute is to be ignored.
        path.is_absolute().then_some(path)
    }

    fn data_dir(&self) -> PathBuf {
        if self.root {
            return "/var/lib/purser".into();
        }
        let home = || self.folder("HOME").unwrap_or_else(|| "/tmp".into()).join(".local/state");
        self.folder("XDG_STATE_HOME").unwrap_or_else(home).join("purser")
    }

    /// Where the socket is if nobody says where: also what the command line looks for.
    #[must_use]
    pub fn socket(&self, data_dir: Option<&Path>) -> PathBuf {
        if self.root {
            return "/run/purser/purser.sock".into();
        }
        let in_data = || data_dir.map_or_else(|| self.data_dir(), Path::to_path_buf).join("purser.sock");
        self.folder("XDG_RUNTIME_DIR").map_or_else(in_data, |folder| folder.join("purser.sock"))
    }
}

/// Reads the config: defaults, then `file`, then the environment.
///
/// # Errors
/// The file cannot be read, a key is unknown, or a value does not fit; the error names the key.
pub fn load(file: Option<&Path>, surroundings: &Surroundings) -> Result<Config, ConfigError> {
    let mut table = defaults(surroundings);
    let given = file.map(read).transpose()?.unwrap_or_default();
    merge(&mut table, given.clone());
    merge_variables(&mut table, &surroundings.variables)?;
    fill_socket(&mut table, surroundings);
    let parsed = serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let key = error.path().to_string();
        ConfigError::value(key, error.into_inner().message().trim())
    });
    let checked = parsed.and_then(|config| check::check(&config).map(|()| config));
    checked.map_err(|error| match error {
        ConfigError::Value { key, message, .. } => {
            let origin = origin(&key, file, &given, &surroundings.variables);
            ConfigError::Value { key, origin, message }
        }
        other => other,
    })
}

/// What sets a key: the variable if there is one, since it wins, else the file.
fn origin(
    key: &str,
    file: Option<&Path>,
    given: &Table,
    variables: &BTreeMap<String, String>,
) -> Option<String> {
    // A place in a list is set with the list.
    let key = key.split_once('[').map_or(key, |(list, _)| list);
    let name = format!("{PREFIX}{}", key.to_ascii_uppercase().replace('-', "_").replace('.', "__"));
    if variables.contains_key(&name) {
        return Some(format!("from the environment variable {name}"));
    }
    let mut parts = key.split('.');
    let first = parts.next().and_then(|part| given.get(part));
    let held = parts.try_fold(first?, |value, part| value.get(part));
    held.and(file).map(|path| format!("in `{}`", path.display()))
}

/// The config as a TOML document.
#[must_use]
pub fn render(config: &Config) -> String {
    toml::to_string_pretty(config).expect("a config has text keys and plain values")
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let fail = |source| ConfigError::Read { path: path.to_path_buf(), source };
    if std::fs::metadata(path).map_err(fail)?.len() > FILE_LEN_MAX {
        return Err(fail(std::io::Error::other(format!("it has more than {FILE_LEN_MAX} bytes"))));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    text.parse().map_err(|source| ConfigError::Syntax { path: path.to_path_buf(), source: Box::new(source) })
}

/// Every key that has a default, but for the socket, which depends on where the data is.
fn defaults(surroundings: &Surroundings) -> Table {
    let text = include_str!("defaults.toml");
    let mut table: Table = text.parse().expect("the defaults are valid TOML");
    let data_dir = surroundings.data_dir().to_string_lossy().into_owned();
    table.insert("data-dir".to_owned(), Value::String(data_dir));
    table
}

fn fill_socket(table: &mut Table, surroundings: &Surroundings) {
    let data_dir = table.get("data-dir").and_then(Value::as_str).map(PathBuf::from);
    if let Some(Value::Table(api)) = table.get_mut("api") {
        let socket = surroundings.socket(data_dir.as_deref()).to_string_lossy().into_owned();
        api.entry("socket").or_insert(Value::String(socket));
    }
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn merge_variables(table: &mut Table, variables: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (name, text) in variables {
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        if OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        let path: Vec<String> =
            key.split("__").map(|part| part.to_ascii_lowercase().replace('_', "-")).collect();
        let dotted = path.join(".");
        let kind = kind_of(&dotted)
            .ok_or_else(|| ConfigError::UnknownVariable { name: name.clone(), key: dotted.clone() })?;
        let value = kind.parse(text).map_err(|message| {
            let origin = Some(format!("from the environment variable {name}"));
            ConfigError::Value { key: dotted.clone(), origin, message }
        })?;
        place(table, &path, value);
    }
    Ok(())
}

fn place(table: &mut Table, path: &[String], value: Value) {
    let mut over = value;
    for part in path.iter().rev() {
        over = Value::Table(Table::from_iter([(part.clone(), over)]));
    }
    if let Value::Table(over) = over {
        merge(table, over);
    }
}

/// How the text of a variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Flag,
    /// Separated by commas.
    Texts,
    /// `key=value`, separated by commas; a key may come again with another value.
    Pairs,
}

impl Kind {
    fn parse(self, text: &str) -> Result<Value, String> {
        let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
        match self {
            Kind::Text => Ok(Value::String(text.to_owned())),
            Kind::Whole => {
                text.parse().map(Value::Integer).map_err(|_| format!("`{text}` is not a whole number"))
            }
            Kind::Flag => text.parse().map(Value::Boolean).map_err(|_| "must be true or false".to_owned()),
            Kind::Texts => Ok(Value::Array(parts().map(|part| Value::String(part.to_owned())).collect())),
            Kind::Pairs => {
                let mut lists: BTreeMap<String, Vec<Value>> = BTreeMap::new();
                for part in parts() {
                    let (key, value) = part.split_once('=').ok_or("must be key=value, key=value …")?;
                    lists.entry(key.to_owned()).or_default().push(Value::String(value.to_owned()));
                }
                Ok(Value::Table(lists.into_iter().map(|(key, values)| (key, Value::Array(values))).collect()))
            }
        }
    }
}

/// The keys that have no default, by kind.
const OPTIONAL_KEYS: [(&str, Kind); 8] = [
    ("api.socket", Kind::Text),
    ("api.socket-group", Kind::Text),
    ("api.tcp.address", Kind::Text),
    ("api.tcp.token-file", Kind::Text),
    ("containerd.images-dir", Kind::Text),
    ("journal.sealing.key-file", Kind::Text),
    ("journal.witness.file", Kind::Text),
    ("journal.witness.command", Kind::Texts),
];

fn kind_of(dotted: &str) -> Option<Kind> {
    if let Some((_, kind)) = OPTIONAL_KEYS.iter().find(|(key, _)| *key == dotted) {
        return Some(*kind);
    }
    if dotted == "containerd.mirrors" {
        return Some(Kind::Pairs);
    }
    let defaults = defaults(&Surroundings::default());
    let (last, folders) = dotted.rsplit_once('.').map_or((dotted, None), |(path, last)| (last, Some(path)));
    let mut table = &defaults;
    for part in folders.into_iter().flat_map(|path| path.split('.')) {
        table = table.get(part)?.as_table()?;
    }
    match table.get(last)? {
        Value::String(_) => Some(Kind::Text),
        Value::Integer(_) => Some(Kind::Whole),
        Value::Boolean(_) => Some(Kind::Flag),
        Value::Array(_) => Some(Kind::Texts),
        Value::Table(_) | Value::Float(_) | Value::Datetime(_) => None,
    }
}

/// Every key that may be set, for the test that compares them with the documentation.
#[cfg(test)]
fn keys() -> Vec<String> {
    fn walk(table: &Table, path: &str, into: &mut Vec<String>) {
        for (key, value) in table {
            let dotted = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match value {
                Value::Table(inner) if dotted != "containerd.mirrors" => walk(inner, &dotted, into),
                _ => into.push(dotted),
            }
        }
    }
    let mut keys = OPTIONAL_KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    walk(&defaults(&Surroundings::default()), "", &mut keys);
    keys.sort();
    keys
}

/// Reads one value as its type, for tests of single sections.
#[cfg(test)]
fn section<T: for<'de> serde::Deserialize<'de>>(text: &str) -> T {
    toml::from_str(text).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Surroundings {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Surroundings { root: true, variables: variables.collect() }
    }

    fn from_text(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path()), &with(&[]))
    }

    #[test]
    fn defaults_are_a_valid_config() {
        let config = load(None, &with(&[])).unwrap();
        assert_eq!(config.api.socket, PathBuf::from("/run/purser/purser.sock"));
        assert_eq!(config.policy.in_force(), purser_events::Policy::default());
        assert_eq!(section::<Config>(&render(&config)), config);
    }

    #[test]
    fn users_without_root_have_their_own_folders() {
        let mut surroundings = with(&[("HOME", "/home/ada")]);
        surroundings.root = false;
        let config = load(None, &surroundings).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("/home/ada/.local/state/purser"));
        assert_eq!(config.api.socket, PathBuf::from("/home/ada/.local/state/purser/purser.sock"));
        surroundings.variables.insert("XDG_RUNTIME_DIR".into(), "/run/user/7".into());
        assert_eq!(load(None, &surroundings).unwrap().api.socket, PathBuf::from("/run/user/7/purser.sock"));
    }

    #[test]
    fn environment_wins_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "data-dir = \"/srv/a\"\n[api]\nrequests-burst = 3\n").unwrap();
        let surroundings = with(&[
            ("PURSER_DATA_DIR", "/srv/b"),
            ("PURSER_API__SOCKET", "/srv/b.sock"),
            ("PURSER_RUNTIME__HOST_PATH_ROOTS", "/mnt/a, /mnt/b"),
            ("PURSER_CONTAINERD__MIRRORS", "docker.io=http://a, docker.io=http://b"),
            ("PURSER_SOCKET", "/elsewhere"),
        ]);
        let config = load(Some(file.path()), &surroundings).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("/srv/b"));
        assert_eq!(config.api.socket, PathBuf::from("/srv/b.sock"));
        assert_eq!(config.api.requests_burst.get(), 3);
        assert_eq!(config.runtime.host_path_roots, [PathBuf::from("/mnt/a"), PathBuf::from("/mnt/b")]);
        assert_eq!(config.containerd.mirrors["docker.io"], ["http://a", "http://b"]);
    }

    #[test]
    fn mistakes_are_named_by_their_key() {
        let cases = [
            ("api.sockt = \"/a\"", "api.sockt"),
            ("nonsense = 1", "nonsense"),
            ("policy.back-off.first-ms = 0", "policy.back-off.first-ms"),
            ("policy.back-off.first-ms = 900000", "policy.back-off.first-ms"),
            ("log.level = \"loud\"", "log.level"),
            ("data-dir = \"relative\"", "data-dir"),
            ("runtime.host-path-roots = [\"../x\"]", "runtime.host-path-roots[0]"),
            ("api.tcp.address = \"127.0.0.1:1\"", "api.tcp"),
            ("containerd.namespace = \"a/b\"", "containerd.namespace"),
        ];
        for (text, key) in cases {
            match from_text(text).unwrap_err() {
                ConfigError::Value { key: named, .. } => assert_eq!(named, key, "{text}"),
                other => panic!("{text}: {other}"),
            }
        }
        assert!(matches!(from_text("= ="), Err(ConfigError::Syntax { .. })));
        let socket = format!("api.socket = \"/{}\"", "s".repeat(107));
        assert!(from_text(&socket).unwrap_err().to_string().contains("107"));
    }

    #[test]
    fn mistakes_are_named_by_who_made_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let said = |text: &str, variables: &[(&str, &str)]| {
            std::fs::write(file.path(), text).unwrap();
            load(Some(file.path()), &with(variables)).unwrap_err().to_string()
        };
        let path = file.path().display();
        let in_file = format!("(in `{path}`)");
        for text in [
            "log.level = \"loud\"",
            "api.sockt = 1",
            "data-dir = \"here\"",
            "runtime.host-path-roots = [\"x\"]",
        ] {
            assert!(said(text, &[]).contains(&in_file), "{text}: {}", said(text, &[]));
        }
        let mistaken = said("data-dir = \"/fine\"", &[("PURSER_DATA_DIR", "here")]);
        assert!(mistaken.contains("(from the environment variable PURSER_DATA_DIR)"), "{mistaken}");
        let default = said("policy.back-off.first-ms = 400000", &[("PURSER_POLICY__BACK_OFF__MAX_MS", "1")]);
        assert!(default.contains("`policy.back-off.first-ms` (in `"), "{default}");
    }

    #[test]
    fn unknown_variables_are_refused() {
        let error = load(None, &with(&[("PURSER_API__SOKET", "/a")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "environment variable PURSER_API__SOKET names no config key (`api.soket`)"
        );
    }

    #[test]
    fn documentation_names_every_key() {
        let page = include_str!("../../../docs/configuration.md");
        for key in keys() {
            assert!(page.contains(&format!("| `{key}` |")), "docs/configuration.md has no row for `{key}`");
        }
    }
}
