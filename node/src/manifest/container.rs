//! Containers and init containers.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as k8s;
use purser_events::pod::expansion::{self, EXPANDED_BYTES_MAX};
use purser_events::pod::spec::{ContainerPort, ContainerSpec, EnvVar, ProbeKind, Protocol, PullPolicy, User};

use super::error::FieldErrors;
use super::{CONTAINERS_MAX, ENV_BYTES_MAX, checked_u32, probe, resources, unique_name, volume};

/// Longest image reference, in bytes.
const IMAGE_LEN_MAX: usize = 1_024;
/// Longest name of a port, in characters: as service names of IANA.
const PORT_NAME_LEN_MAX: usize = 15;

/// What the containers of one pod share, and what only one of them may have.
pub(super) struct Containers<'a> {
    security: &'a k8s::PodSecurityContext,
    /// Names of the pod's volumes.
    volumes: &'a BTreeSet<String>,
    names: BTreeSet<String>,
    /// Ports of containers that run side by side: all are ports of the node.
    ports: BTreeSet<(u16, &'static str)>,
    env_bytes: usize,
}

impl<'a> Containers<'a> {
    pub(super) fn new(
        security: &'a k8s::PodSecurityContext,
        volumes: &'a BTreeSet<String>,
    ) -> Containers<'a> {
        Containers { security, volumes, names: BTreeSet::new(), ports: BTreeSet::new(), env_bytes: 0 }
    }

    /// Init containers, then those that run side by side; what is wrong with any of them is in `errors`.
    pub(super) fn convert(
        mut self,
        init: Vec<k8s::Container>,
        app: Vec<k8s::Container>,
        errors: &mut FieldErrors,
    ) -> (Vec<ContainerSpec>, Vec<ContainerSpec>) {
        if app.is_empty() {
            errors.add("spec.containers", "must have at least one container");
        }
        let count = init.len() + app.len();
        if count > CONTAINERS_MAX {
            errors.add(
                "spec.containers",
                format!("there are {count} containers, at most {CONTAINERS_MAX} are allowed"),
            );
        }
        let init = self.list("spec.initContainers", init, errors);
        self.ports.clear();
        (init, self.list("spec.containers", app, errors))
    }

    fn list(
        &mut self,
        list: &str,
        given: Vec<k8s::Container>,
        errors: &mut FieldErrors,
    ) -> Vec<ContainerSpec> {
        let mut specs = Vec::with_capacity(given.len());
        for (index, container) in given.into_iter().enumerate() {
            if list == "spec.initContainers" {
                // They run one after the other: each may have any port.
                self.ports.clear();
            }
            specs.extend(self.container(container, &format!("{list}[{index}]"), errors));
        }
        specs
    }

    fn container(
        &mut self,
        container: k8s::Container,
        path: &str,
        errors: &mut FieldErrors,
    ) -> Option<ContainerSpec> {
        let name = unique_name(&container.name, &format!("{path}.name"), &mut self.names, errors);
        check_image(container.image.as_deref(), &format!("{path}.image"), errors);
        if let Some(folder) = &container.working_dir {
            volume::check_path(folder, &format!("{path}.workingDir"), errors);
        }
        let given = container.ports.unwrap_or_default();
        let declared: BTreeSet<String> = given.iter().filter_map(|port| port.name.clone()).collect();
        let ports = self.ports(given, path, errors);
        let named = probe::Ports { ports: &ports, declared: &declared };
        let mut probe = |kind, probe: Option<k8s::Probe>| {
            probe.and_then(|given| {
                probe::probe(kind, given, named, &format!("{path}.{}Probe", kind.word()), errors)
            })
        };
        let liveness = probe(ProbeKind::Liveness, container.liveness_probe);
        let readiness = probe(ProbeKind::Readiness, container.readiness_probe);
        let startup = probe(ProbeKind::Startup, container.startup_probe);
        let spec = ContainerSpec {
            name: name?,
            image_pull_policy: pull_policy(
                container.image_pull_policy.as_deref(),
                container.image.as_deref(),
            ),
            image: container.image,
            command: container.command.unwrap_or_default(),
            args: container.args.unwrap_or_default(),
            env: self.env(container.env.unwrap_or_default(), path, errors),
            working_dir: container.working_dir,
            resources: resources::resources(container.resources.unwrap_or_default(), path, errors),
            mounts: volume::mounts(container.volume_mounts.unwrap_or_default(), self.volumes, path, errors),
            liveness,
            readiness,
            startup,
            user: self.user(&container.security_context.unwrap_or_default(), path, errors),
            ports,
        };
        if errors.is_empty() && !expansion::fits(&spec) {
            let message = format!("with $(VAR) expanded more than {EXPANDED_BYTES_MAX} bytes");
            errors.add(&format!("{path}.env"), message);
        }
        Some(spec)
    }

    fn ports(
        &mut self,
        ports: Vec<k8s::ContainerPort>,
        path: &str,
        errors: &mut FieldErrors,
    ) -> Vec<ContainerPort> {
        let mut names = BTreeSet::new();
        let convert = |(index, port): (usize, k8s::ContainerPort)| {
            let path = format!("{path}.ports[{index}]");
            let at = format!("{path}.containerPort");
            let protocol =
                if port.protocol.as_deref() == Some("UDP") { Protocol::Udp } else { Protocol::Tcp };
            let Some(number) = u16::try_from(port.container_port).ok().filter(|&number| number > 0) else {
                errors.add(&at, "is required");
                return None;
            };
            if port.host_port.is_some_and(|host| host != port.container_port) {
                errors.add(
                    &format!("{path}.hostPort"),
                    "must equal containerPort: pods share the node's network",
                );
            }
            if !self.ports.insert((number, protocol_word(protocol))) {
                errors.add(&at, "is given more than once: pods share the node's network");
            }
            if let Some(name) = &port.name {
                check_port_name(name, &format!("{path}.name"), &mut names, errors);
            }
            Some(ContainerPort { name: port.name, port: number, protocol })
        };
        ports.into_iter().enumerate().filter_map(convert).collect()
    }

    fn env(&mut self, env: Vec<k8s::EnvVar>, path: &str, errors: &mut FieldErrors) -> Vec<EnvVar> {
        let mut names = BTreeSet::new();
        let had_room = self.env_bytes <= ENV_BYTES_MAX;
        let convert = |(index, variable): (usize, k8s::EnvVar)| {
            let at = format!("{path}.env[{index}].name");
            let (name, value) = (variable.name, variable.value.unwrap_or_default());
            if name.is_empty() {
                errors.add(&at, "is required");
            } else if !name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
                errors.add(&at, "must be printable ASCII without '='");
            } else if !names.insert(name.clone()) {
                errors.add(&at, "is given more than once in this container");
            }
            self.env_bytes += name.len() + value.len();
            EnvVar { name, value }
        };
        let env = env.into_iter().enumerate().map(convert).collect();
        if had_room && self.env_bytes > ENV_BYTES_MAX {
            let message = format!("the pod's environment has more than {ENV_BYTES_MAX} bytes");
            errors.add(&format!("{path}.env"), message);
        }
        env
    }

    fn user(&self, own: &k8s::SecurityContext, path: &str, errors: &mut FieldErrors) -> User {
        let uid = own.run_as_user.or(self.security.run_as_user).map(checked_u32);
        let non_root = own.run_as_non_root.or(self.security.run_as_non_root).unwrap_or(false);
        if non_root && uid == Some(0) {
            let path = if own.run_as_user.is_some() { path } else { "spec" };
            errors.add(&format!("{path}.securityContext.runAsUser"), "must not be 0: runAsNonRoot is true");
        }
        User {
            uid,
            gid: own.run_as_group.or(self.security.run_as_group).map(checked_u32),
            non_root,
            no_new_privileges: own.allow_privilege_escalation == Some(false),
        }
    }
}

/// The word in a manifest.
pub(super) fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

fn check_port_name(name: &str, at: &str, names: &mut BTreeSet<String>, errors: &mut FieldErrors) {
    let fine = (1..=PORT_NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !(name.starts_with('-') || name.ends_with('-') || name.contains("--"));
    if !fine {
        errors.add(
            at,
            "must have at most 15 lower-case letters, digits and single '-' between them, and one letter",
        );
    } else if !names.insert(name.to_owned()) {
        errors.add(at, "is given more than once in this container");
    }
}

fn check_image(image: Option<&str>, at: &str, errors: &mut FieldErrors) {
    let Some(image) = image else { return };
    if image.is_empty() {
        errors.add(at, "must not be empty: leave it out for a process");
    } else if image.len() > IMAGE_LEN_MAX || !image.bytes().all(|byte| byte.is_ascii_graphic()) {
        errors.add(at, format!("must have at most {IMAGE_LEN_MAX} printable characters and no blanks"));
    }
}

/// Kubernetes' default: what may change behind its name is fetched each time.
fn pull_policy(word: Option<&str>, image: Option<&str>) -> PullPolicy {
    match (word, image) {
        (Some("Always"), _) => PullPolicy::Always,
        (Some("Never"), _) => PullPolicy::Never,
        (None, Some(image)) if is_latest(image) => PullPolicy::Always,
        // The table has no other word, and without an image nothing is fetched.
        (Some(_) | None, _) => PullPolicy::IfNotPresent,
    }
}

fn is_latest(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or(image);
    !image.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}
