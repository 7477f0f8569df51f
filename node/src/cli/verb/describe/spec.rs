//! What a manifest asks for a container, in lines for people.

use serde_json::Value;

/// Amounts of resources, as in `cpu 500m, memory 64Mi`; none if nothing is asked for. `kind` is `limits` or `requests`.
pub(super) fn amounts(spec: &Value, kind: &str) -> Option<String> {
    let amounts = spec.get("resources")?.get(kind)?.as_object()?;
    let amounts: Vec<String> =
        amounts.iter().map(|(name, amount)| format!("{name} {}", plain(amount))).collect();
    if amounts.is_empty() { None } else { Some(amounts.join(", ")) }
}

/// Ports, as in `8080/TCP (http), 53/UDP`; none if there are none.
pub(super) fn ports(spec: &Value) -> Option<String> {
    let ports = spec.get("ports")?.as_array()?.iter().map(|port| {
        let protocol = port.get("protocol").map_or_else(|| "TCP".to_owned(), plain);
        let number = port.get("containerPort").map(plain).unwrap_or_default();
        let name = port.get("name").map_or_else(String::new, |name| format!(" ({})", plain(name)));
        format!("{number}/{protocol}{name}")
    });
    let ports: Vec<String> = ports.collect();
    if ports.is_empty() { None } else { Some(ports.join(", ")) }
}

/// A probe, as in `GET http://:8080/healthz, after 5 s, every 10 s, timeout 1 s, fails after 3`.
pub(super) fn probe(probe: &Value) -> String {
    let seconds = |key: &str| probe.get(key).and_then(Value::as_u64).unwrap_or_default();
    let mut parts = vec![check(probe)];
    if seconds("initialDelaySeconds") > 0 {
        parts.push(format!("after {} s", seconds("initialDelaySeconds")));
    }
    parts.push(format!("every {} s", seconds("periodSeconds")));
    parts.push(format!("timeout {} s", seconds("timeoutSeconds")));
    if seconds("successThreshold") > 1 {
        parts.push(format!("succeeds after {}", seconds("successThreshold")));
    }
    parts.push(format!("fails after {}", seconds("failureThreshold")));
    parts.join(", ")
}

fn check(probe: &Value) -> String {
    let host = |check: &Value| check.get("host").map(plain).unwrap_or_default();
    let port = |check: &Value| check.get("port").map(plain).unwrap_or_default();
    if let Some(get) = probe.get("httpGet") {
        let path = get.get("path").map_or_else(|| "/".to_owned(), plain);
        return format!("GET http://{}:{}{path}", host(get), port(get));
    }
    if let Some(socket) = probe.get("tcpSocket") {
        return format!("connect to {}:{}", host(socket), port(socket));
    }
    let command = probe.pointer("/exec/command").and_then(Value::as_array).into_iter().flatten();
    format!("run {}", command.map(word).collect::<Vec<_>>().join(" "))
}

/// A word of a command line, in quotes where it would be read as several or as none.
fn word(value: &Value) -> String {
    let word = plain(value);
    let whole = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(whole) {
        return word;
    }
    // What a terminal would take for a command is shown as an escape.
    let shown =
        |char: char| if char.is_control() { char.escape_debug().to_string() } else { char.to_string() };
    let text: String = word.replace('\'', r"'\''").chars().map(shown).collect();
    format!("'{text}'")
}

/// A value without the quotes of JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn resources_and_ports_are_lines() {
        let spec = json!({
            "resources": { "limits": { "cpu": "500m", "memory": "64Mi" }, "requests": {} },
            "ports": [
                { "name": "http", "containerPort": 8080, "protocol": "TCP" },
                { "containerPort": 53, "protocol": "UDP" },
            ],
        });
        assert_eq!(amounts(&spec, "limits").as_deref(), Some("cpu 500m, memory 64Mi"));
        assert_eq!(amounts(&spec, "requests"), None);
        assert_eq!(ports(&spec).as_deref(), Some("8080/TCP (http), 53/UDP"));
        assert_eq!((amounts(&json!({}), "limits"), ports(&json!({}))), (None, None));
    }

    #[test]
    fn probes_are_lines() {
        let times = |mut check: Value, delay: u32| {
            let rest = json!({
                "initialDelaySeconds": delay, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1,
                "failureThreshold": 3,
            });
            check.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            probe(&check)
        };
        let get = json!({ "httpGet": { "port": 8080, "path": "/healthz", "scheme": "HTTP" } });
        assert_eq!(
            times(get, 5),
            "GET http://:8080/healthz, after 5 s, every 10 s, timeout 1 s, fails after 3"
        );
        let socket = json!({ "tcpSocket": { "host": "127.0.0.1", "port": 22 } });
        assert_eq!(times(socket, 0), "connect to 127.0.0.1:22, every 10 s, timeout 1 s, fails after 3");
        let exec = json!({ "exec": { "command": ["sh", "-c", "test -e 'a'\n"] } });
        assert_eq!(
            times(exec, 0),
            r"run sh -c 'test -e '\''a'\''\n', every 10 s, timeout 1 s, fails after 3"
        );
    }
}
