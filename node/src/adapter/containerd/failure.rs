//! What containerd's and runc's failures mean to a pod.

use purser_actors::port::RuntimeError;
use purser_events::pod::event::FailureClass;
use tonic::{Code, Status};

/// A failed call as the pod's failure; `what` completes "failed to …".
pub(super) fn from_status(what: &str, status: &Status) -> RuntimeError {
    if is_away(status) {
        let message = format!("failed to {what}: containerd does not answer: {}", status.message());
        return RuntimeError::new(FailureClass::Unavailable, message);
    }
    RuntimeError::new(FailureClass::Runtime, format!("failed to {what}: {}", tidy(status.message())))
}

/// Whether containerd could not be asked, or went away while it was: a later try may succeed.
pub(super) fn is_away(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => true,
        // A connection that breaks under a call shows as "unknown" with one of these texts.
        Code::Unknown => {
            let text = status.message();
            text.contains("transport error")
                || text.contains("h2 protocol error")
                || text.contains("ttrpc: closed")
        }
        _ => false,
    }
}

/// Whether the thing asked for does not exist (any more).
pub(super) fn is_absent(status: &Status) -> bool {
    status.code() == Code::NotFound
}

/// Makes an answer of "there is none" a success: what should go is gone.
pub(super) fn absent_is_fine<T>(result: Result<T, Status>) -> Result<(), Status> {
    match result {
        Ok(_) => Ok(()),
        Err(status) if is_absent(&status) => Ok(()),
        Err(status) => Err(status),
    }
}

/// A failed creation or start: tells what the manifest got wrong from what the host got wrong.
pub(super) fn from_create(status: &Status) -> RuntimeError {
    if is_away(status) {
        return from_status("start the container", status);
    }
    let text = tidy(status.message());
    let class = classify_create(&text);
    RuntimeError::new(class, format!("failed to start the container: {text}"))
}

fn classify_create(text: &str) -> FailureClass {
    // runc says `exec: "x": …` for the program, `chdir to cwd` for the folder, `error mounting` for volumes.
    let of_program = text.contains("exec: ") || text.contains("exec /") || text.contains("exec format error");
    let of_folder = text.contains("chdir to cwd") || text.contains("mkdir cwd");
    if of_program || of_folder {
        FailureClass::Invalid
    } else if text.contains("error mounting") {
        FailureClass::Volume
    } else {
        FailureClass::Runtime
    }
}

/// Takes the layers of wrapping off a runtime's message.
fn tidy(text: &str) -> String {
    const WRAPPINGS: [&str; 6] = [
        "failed to create shim task: ",
        "OCI runtime create failed: ",
        "OCI runtime exec failed: ",
        "exec failed: ",
        "runc create failed: ",
        "unable to start container process: ",
    ];
    let mut rest = text;
    while let Some(inner) = WRAPPINGS.iter().find_map(|wrapping| rest.strip_prefix(wrapping)) {
        rest = inner;
    }
    rest.trim_end_matches(": unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_program_is_the_manifests_fault() {
        let status = Status::unknown(
            "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container \
             process: exec: \"nosuch\": executable file not found in $PATH: unknown",
        );
        let error = from_create(&status);
        assert_eq!(error.class, FailureClass::Invalid);
        assert_eq!(
            error.message,
            "failed to start the container: exec: \"nosuch\": executable file not found in $PATH"
        );
    }

    #[test]
    fn a_broken_connection_is_not_the_containers_fault() {
        for status in [
            Status::unavailable("No such file or directory"),
            Status::unknown("transport error"),
            Status::unknown("h2 protocol error: error reading a body from connection"),
            Status::deadline_exceeded("no answer within 10 s"),
        ] {
            assert_eq!(from_create(&status).class, FailureClass::Unavailable, "{status}");
        }
    }
}
