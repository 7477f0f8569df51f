//! `purser get process`: whose a process is.

use super::gpus::used;
use crate::api::processes::{OwnerView, PodProcessView};
use crate::cli::arguments::Output;
use crate::cli::client::{Call, Client};
use crate::cli::failure::Failure;
use crate::cli::show::{Table, line, structured};

/// Shows the pod of a process.
pub(super) async fn get(client: &Client, pid: Option<&str>, output: Output) -> Result<u8, Failure> {
    let pid = pid.and_then(|pid| pid.parse::<u32>().ok()).filter(|pid| *pid != 0);
    let pid = pid.ok_or_else(|| Failure::Usage("say which process: `purser get process PID`".to_owned()))?;
    let view: PodProcessView = client.read(&Call::get(format!("/v1/processes/{pid}"))).await?;
    if structured(&view, output)? {
        return Ok(0);
    }
    let OwnerView { uid, namespace, pod, container, attempt, inner_pid, .. } = &view.owner;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let number = |number: &Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    if output == Output::Name {
        line(&format!("pod/{}", text(pod)))?;
        return Ok(0);
    }
    let mut headings = vec!["PID", "NAMESPACE", "POD", "CONTAINER", "TRY", "INNER PID", "GPUS"];
    let gpus: Vec<String> = view
        .gpus
        .iter()
        .map(|gpu| format!("{} ({})", gpu.uuid, used(gpu.memory_bytes, gpu.sm_percent)))
        .collect();
    let gpus = if gpus.is_empty() { "-".to_owned() } else { gpus.join(", ") };
    let mut cells = vec![
        view.pid.to_string(),
        text(namespace),
        text(pod),
        text(container),
        number(attempt),
        number(inner_pid),
        gpus,
    ];
    if output == Output::Wide {
        headings.push("POD UID");
        cells.push(text(uid));
    }
    let mut table = Table::new(&headings);
    table.row(cells);
    table.print()?;
    Ok(0)
}
