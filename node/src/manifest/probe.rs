//! Probes: how a container is checked.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use purser_events::pod::spec::{ContainerPort, Probe, ProbeCheck, ProbeKind, Protocol};

use super::checked_u32;
use super::error::FieldErrors;

/// Longest host, path, or name or value of a header, in bytes.
const TEXT_LEN_MAX: usize = 2_048;

/// The ports of a container, to which probes may refer by name.
#[derive(Clone, Copy)]
pub(super) struct Ports<'a> {
    /// Those that are well formed.
    pub(super) ports: &'a [ContainerPort],
    /// Names of all of them: also of those with which something is wrong.
    pub(super) declared: &'a BTreeSet<String>,
}

/// The probe at `path` of a container that has `ports`.
pub(super) fn probe(
    kind: ProbeKind,
    given: k8s::Probe,
    ports: Ports<'_>,
    path: &str,
    errors: &mut FieldErrors,
) -> Option<Probe> {
    let success_threshold = or_default(given.success_threshold, 1);
    if success_threshold != 1 && kind != ProbeKind::Readiness {
        errors.add(&format!("{path}.successThreshold"), format!("must be 1 for a {} probe", kind.word()));
    }
    let check = match (given.exec, given.http_get, given.tcp_socket) {
        (Some(exec), None, None) => exec_check(exec, path, errors),
        (None, Some(get), None) => http_check(get, ports, path, errors),
        (None, None, Some(socket)) => tcp_check(socket, ports, path, errors),
        (None, None, None) => {
            errors.add(path, "must have exec, httpGet or tcpSocket");
            None
        }
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            errors.add(path, "must have only one of exec, httpGet and tcpSocket");
            None
        }
    };
    Some(Probe {
        check: check?,
        initial_delay_s: checked_u32(given.initial_delay_seconds.unwrap_or(0)),
        period_s: or_default(given.period_seconds, 10),
        timeout_s: or_default(given.timeout_seconds, 1),
        success_threshold,
        failure_threshold: or_default(given.failure_threshold, 3),
    })
}

/// Kubernetes takes 0 for "not given" here.
fn or_default(given: Option<i32>, default: u32) -> u32 {
    given.filter(|&given| given != 0).map_or(default, checked_u32)
}

fn exec_check(exec: k8s::ExecAction, path: &str, errors: &mut FieldErrors) -> Option<ProbeCheck> {
    let command = exec.command.unwrap_or_default();
    if command.first().is_none_or(String::is_empty) {
        errors.add(&format!("{path}.exec.command"), "is required: a program and its arguments");
        return None;
    }
    Some(ProbeCheck::Exec { command })
}

fn http_check(
    get: k8s::HTTPGetAction,
    ports: Ports<'_>,
    path: &str,
    errors: &mut FieldErrors,
) -> Option<ProbeCheck> {
    let path = format!("{path}.httpGet");
    let port = port(&get.port, ports, &format!("{path}.port"), errors);
    let target = get.path.unwrap_or_default();
    check_graphic(&target, &format!("{path}.path"), errors);
    let host = host(get.host, &format!("{path}.host"), errors);
    let mut headers = Vec::new();
    for (index, header) in get.http_headers.unwrap_or_default().into_iter().enumerate() {
        let at = format!("{path}.httpHeaders[{index}]");
        check_header(&header, &at, errors);
        headers.push((header.name, header.value));
    }
    let target = if target.starts_with('/') { target } else { format!("/{target}") };
    Some(ProbeCheck::HttpGet { host, port: port?, path: target, headers })
}

fn tcp_check(
    socket: k8s::TCPSocketAction,
    ports: Ports<'_>,
    path: &str,
    errors: &mut FieldErrors,
) -> Option<ProbeCheck> {
    let path = format!("{path}.tcpSocket");
    let port = port(&socket.port, ports, &format!("{path}.port"), errors);
    let host = host(socket.host, &format!("{path}.host"), errors);
    Some(ProbeCheck::TcpSocket { host, port: port? })
}

fn port(given: &IntOrString, ports: Ports<'_>, at: &str, errors: &mut FieldErrors) -> Option<u16> {
    let found = match given {
        IntOrString::Int(number) => {
            u16::try_from(*number).ok().filter(|&number| number > 0).ok_or("is required")
        }
        IntOrString::String(name) => {
            match ports.ports.iter().find(|port| port.name.as_deref() == Some(name)) {
                Some(port) if port.protocol == Protocol::Tcp => Ok(port.port),
                Some(_) => Err("that port is not TCP"),
                // What is wrong with it has been said.
                None if ports.declared.contains(name) => return None,
                None => Err("the container has no port of that name"),
            }
        }
    };
    found.map_err(|message| errors.add(at, message)).ok()
}

/// Kubernetes takes an empty host for "not given".
fn host(given: Option<String>, at: &str, errors: &mut FieldErrors) -> Option<String> {
    let host = given.filter(|host| !host.is_empty())?;
    let fine = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    if !fine || host.len() > 253 {
        errors.add(at, "must be a host name or an IP address");
    }
    Some(host)
}

fn check_header(header: &k8s::HTTPHeader, path: &str, errors: &mut FieldErrors) {
    let name_is_fine = (1..=TEXT_LEN_MAX).contains(&header.name.len())
        && header.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !name_is_fine {
        errors.add(&format!("{path}.name"), "must consist of letters, digits and '-'");
    }
    if header.value.len() > TEXT_LEN_MAX
        || header.value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
    {
        errors.add(&format!("{path}.value"), format!("must be one line of at most {TEXT_LEN_MAX} bytes"));
    }
}

fn check_graphic(text: &str, at: &str, errors: &mut FieldErrors) {
    if text.len() > TEXT_LEN_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        errors.add(at, format!("must have at most {TEXT_LEN_MAX} printable ASCII characters and no blanks"));
    }
}
