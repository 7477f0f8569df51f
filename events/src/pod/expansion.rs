//! `$(VAR)` in a container's environment, command and arguments, as Kubernetes expands it.
//!
//! Not a shell: there are no defaults, no nesting and no other forms.

use std::collections::BTreeMap;

use super::spec::{ContainerSpec, EnvVar};

/// Most bytes that one container's expanded environment, command and arguments may have together.
///
/// Linux refuses a single argument of 128 KiB; without a bound, variables that name each other twice would
/// double with every line of a manifest.
pub const EXPANDED_BYTES_MAX: usize = 96 * 1024;

/// What a container is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Environment in the manifest's order; a name that is given twice stands once, with its last value.
    pub env: Vec<(String, String)>,
    /// Replaces the image's entrypoint if not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments if not empty.
    pub args: Vec<String>,
}

/// Replaces each `$(NAME)` that `lookup` knows; `$$` stands for `$`, and everything else stays as it is.
pub fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    Budget { left: usize::MAX, exceeded: false }.expand(text, lookup)
}

/// Expands a container's environment, in which a variable may refer to those before it, and then its command
/// and arguments.
///
/// A reference beyond [`EXPANDED_BYTES_MAX`] stays as it is written; [`fits`] says whether that happens.
#[must_use]
pub fn resolve(spec: &ContainerSpec) -> Resolved {
    resolve_within(spec, EXPANDED_BYTES_MAX).0
}

/// Says whether a container's environment, command and arguments stay within [`EXPANDED_BYTES_MAX`].
#[must_use]
pub fn fits(spec: &ContainerSpec) -> bool {
    resolve_within(spec, EXPANDED_BYTES_MAX).1
}

/// Expands the command of a probe: references are to the values as they stand in the manifest, which are not expanded
/// themselves, as kubelet has it. A reference beyond [`EXPANDED_BYTES_MAX`] stays as it is written.
#[must_use]
pub fn probe_command(command: &[String], env: &[EnvVar]) -> Vec<String> {
    let mut budget = Budget { left: EXPANDED_BYTES_MAX, exceeded: false };
    // The last of several with one name counts.
    let lookup = |name: &str| {
        env.iter().rev().find(|variable| variable.name == name).map(|variable| variable.value.as_str())
    };
    command.iter().map(|text| budget.expand(text, lookup)).collect()
}

fn resolve_within(spec: &ContainerSpec, bytes_max: usize) -> (Resolved, bool) {
    let mut budget = Budget { left: bytes_max, exceeded: false };
    let mut env: Vec<(String, String)> = Vec::with_capacity(spec.env.len());
    let mut positions: BTreeMap<&str, usize> = BTreeMap::new();
    for variable in &spec.env {
        let value = budget
            .expand(&variable.value, |name| positions.get(name).map(|&position| env[position].1.as_str()));
        match positions.get(variable.name.as_str()) {
            Some(&position) => env[position].1 = value,
            None => {
                positions.insert(&variable.name, env.len());
                env.push((variable.name.clone(), value));
            }
        }
    }
    let mut expand_all = |texts: &[String]| -> Vec<String> {
        let lookup = |name: &str| positions.get(name).map(|&position| env[position].1.as_str());
        texts.iter().map(|text| budget.expand(text, lookup)).collect()
    };
    let (command, args) = (expand_all(&spec.command), expand_all(&spec.args));
    (Resolved { env, command, args }, !budget.exceeded)
}

/// What may still be written.
struct Budget {
    left: usize,
    exceeded: bool,
}

impl Budget {
    fn expand<'a>(&mut self, text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            self.push(&mut out, &rest[..dollar]);
            let after = &rest[dollar + 1..];
            rest = match after.as_bytes().first() {
                // `$$` is how a manifest writes a `$` that begins no reference.
                Some(b'$') => {
                    self.push(&mut out, "$");
                    &after[1..]
                }
                Some(b'(') => match after.find(')') {
                    Some(end) => {
                        let whole = &rest[dollar..=dollar + 1 + end];
                        match lookup(&after[1..end]) {
                            Some(value) => self.push_or(&mut out, value, whole),
                            None => self.push(&mut out, whole),
                        }
                        &after[end + 1..]
                    }
                    // No parenthesis closes from here on, so no reference follows; `$$` still is one `$`.
                    None => {
                        self.push(&mut out, &rest[dollar..].replace("$$", "$"));
                        ""
                    }
                },
                Some(_) | None => {
                    self.push(&mut out, "$");
                    after
                }
            };
        }
        self.push(&mut out, rest);
        out
    }

    /// Writes what the manifest itself holds; its size is bounded already, so it is never cut.
    fn push(&mut self, out: &mut String, text: &str) {
        self.exceeded |= text.len() > self.left;
        self.left = self.left.saturating_sub(text.len());
        out.push_str(text);
    }

    fn push_or(&mut self, out: &mut String, value: &str, as_written: &str) {
        if value.len() > self.left {
            self.exceeded = true;
            self.push(out, as_written);
        } else {
            self.push(out, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::ContainerName;
    use crate::pod::spec::{PullPolicy, Resources, User};

    fn lookup(name: &str) -> Option<&'static str> {
        match name {
            "VAR" => Some("value"),
            "EMPTY" => Some(""),
            "REF" => Some("$(VAR)"),
            "a b" => Some("spaced"),
            _ => None,
        }
    }

    #[test]
    fn references_are_expanded_as_kubernetes_does() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(VAR)", "value"),
            ("a$(VAR)b$(VAR)", "avaluebvalue"),
            ("$(EMPTY)", ""),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$()", "$()"),
            ("$$(VAR)", "$(VAR)"),
            ("$$$(VAR)", "$value"),
            ("$$$$(VAR)", "$$(VAR)"),
            ("$$$$$(VAR)", "$$value"),
            ("$VAR", "$VAR"),
            ("${VAR}", "${VAR}"),
            ("$", "$"),
            ("a$", "a$"),
            ("$$", "$"),
            ("$(VAR", "$(VAR"),
            ("$(VAR$(VAR)", "$(VAR$(VAR)"),
            ("$(VAR$$x", "$(VAR$x"),
            ("$(REF)", "$(VAR)"),
            ("$(a b)", "spaced"),
            ("$é$(VAR)é", "$évalueé"),
            ("$($(VAR))", "$($(VAR))"),
        ] {
            assert_eq!(expand(text, lookup), expected, "{text:?}");
        }
    }

    fn container(env: &[(&str, &str)], command: &[&str], args: &[&str]) -> ContainerSpec {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        ContainerSpec {
            name: ContainerName::new("main").unwrap(),
            image: None,
            image_pull_policy: PullPolicy::IfNotPresent,
            command: texts(command),
            args: texts(args),
            env: env
                .iter()
                .map(|(name, value)| EnvVar { name: (*name).into(), value: (*value).into() })
                .collect(),
            working_dir: None,
            resources: Resources::default(),
            ports: vec![],
            mounts: vec![],
            liveness: None,
            readiness: None,
            startup: None,
            user: User::default(),
        }
    }

    #[test]
    fn a_probe_sees_values_as_they_are_written() {
        let env = [("A", "1"), ("B", "$(A)"), ("A", "2")];
        let spec = container(&env, &[], &[]);
        let command: Vec<String> = ["x$(A)", "$(B)", "$$(A)", "$(NONE)"].map(String::from).into();
        assert_eq!(probe_command(&command, &spec.env), ["x2", "$(A)", "$(A)", "$(NONE)"]);
    }

    #[test]
    fn a_variable_sees_only_those_before_it() {
        let env = [("LATE", "$(HOST)"), ("HOST", "h"), ("URL", "http://$(HOST):$(PORT)"), ("PORT", "80")];
        let resolved = resolve(&container(&env, &["/bin/$(HOST)"], &["$(URL)", "$$(URL)", "$(NONE)"]));
        let values: Vec<&str> = resolved.env.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["$(HOST)", "h", "http://h:$(PORT)", "80"]);
        assert_eq!(resolved.command, ["/bin/h"]);
        assert_eq!(resolved.args, ["http://h:$(PORT)", "$(URL)", "$(NONE)"]);
    }

    #[test]
    fn a_name_that_is_given_twice_has_its_last_value() {
        let env = [("A", "1"), ("B", "$(A)"), ("A", "$(A)2"), ("C", "$(A)")];
        let resolved = resolve(&container(&env, &[], &[]));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(resolved.env, [pair("A", "12"), pair("B", "1"), pair("C", "12")]);
    }

    #[test]
    fn variables_that_double_are_held_back() {
        let names: Vec<String> = (0..64).map(|n| format!("V{n}")).collect();
        let values: Vec<String> = (0..64_usize)
            .map(|n| n.checked_sub(1).map_or("x".into(), |n| format!("$(V{n})$(V{n})")))
            .collect();
        let env: Vec<(&str, &str)> =
            names.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
        let bomb = container(&env, &[], &[]);
        assert!(!fits(&bomb));
        let bytes: usize = resolve(&bomb).env.iter().map(|(_, value)| value.len()).sum();
        assert!(bytes <= EXPANDED_BYTES_MAX + 64 * 20, "{bytes} bytes");
        assert!(fits(&container(&env[..8], &[], &[])));
    }

    proptest! {
        #[test]
        fn text_without_a_dollar_stays(text in "[^$]*") {
            prop_assert_eq!(expand(&text, lookup), text);
        }

        #[test]
        fn escaping_every_dollar_gives_the_text_back(text in ".*") {
            prop_assert_eq!(expand(&text.replace('$', "$$"), lookup), text);
        }
    }
}
