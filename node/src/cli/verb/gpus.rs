//! `purser get gpus`.

use purser_events::{Bytes, MilliTflops};

use crate::api::gpus::{DriverView, GpusView, ProcessView, ReadingView, ReadingsView, SeenGpuView};
use crate::api::processes::OwnerView;
use crate::cli::arguments::Output;
use crate::cli::client::{Call, Client};
use crate::cli::failure::Failure;
use crate::cli::show::{Table, coloured, line, structured};

/// Lists the machine's GPUs.
pub(super) async fn get(client: &Client, only: Option<&str>, output: Output) -> Result<u8, Failure> {
    let mut view: GpusView = client.read(&Call::get("/v1/gpus")).await?;
    if let Some(only) = only {
        view.gpus.retain(|gpu| gpu.uuid == only);
        if view.gpus.is_empty() {
            return Err(Failure::Unknown(format!("the node has no GPU `{only}`")));
        }
    }
    if !structured(&view, output)? {
        print(&view, output)?;
    }
    Ok(0)
}

fn print(view: &GpusView, output: Output) -> Result<(), Failure> {
    if output == Output::Name {
        return view.gpus.iter().try_for_each(|gpu| line(&format!("gpu/{}", gpu.uuid)));
    }
    let mut headings =
        vec!["UUID", "MODEL", "STATE", "HEALTH", "BUSY", "MEMORY", "TEMPERATURE", "POWER", "PROCESSES"];
    if output == Output::Wide {
        headings.extend(["TFLOPS", "INDEX", "MEMORY BUSY", "USED BY"]);
    }
    let mut table = Table::new(&headings);
    view.gpus.iter().for_each(|gpu| table.row(cells(gpu, output)));
    table.print()?;
    for gpu in &view.gpus {
        // What is on record says it too, as soon as it was noticed.
        if let Some(reason) = gpu.health_reason.as_ref().or(gpu.reason.as_ref()) {
            line(&format!("{}: {reason}", gpu.uuid))?;
        }
        if let Some(trouble) = &gpu.device_trouble {
            line(&format!("{}: not for containers: {trouble}", gpu.uuid))?;
        }
    }
    view.cdi_troubles.iter().try_for_each(|trouble| line(&format!("device descriptions: {trouble}")))?;
    driver(&view.driver)
}

/// What there is to say about the driver: nothing of one that answers to everything.
fn driver(driver: &DriverView) -> Result<(), Failure> {
    let DriverView { state, library, release: _, reason } = driver;
    match (state.as_str(), reason) {
        ("Absent", _) if library.is_empty() => line("driver: not looked for (`gpu.nvml-library` is empty)"),
        ("Absent", _) => line(&format!("driver: none; there is no {library}")),
        (_, Some(reason)) => line(&format!("driver {library}: {reason}")),
        ("Starting", None) => line("driver: not asked yet"),
        (_, None) => Ok(()),
    }
}

fn cells(gpu: &SeenGpuView, output: Output) -> Vec<String> {
    // What was read before it went silent is not how it stands.
    let readings = gpu.readings.as_ref().filter(|_| gpu.state == "Ready");
    let show = |of: fn(&ReadingsView) -> &ReadingView, unit: fn(u64) -> String| {
        readings.map_or_else(|| "-".to_owned(), |readings| shown(of(readings), unit))
    };
    let percent = |value: u64| format!("{value}%");
    let bytes = |value: u64| Bytes(value).to_string();
    let used = show(|it| &it.memory_used_bytes, bytes);
    let memory = gpu.memory_bytes.map_or_else(|| "-".to_owned(), bytes);
    let mut cells = vec![
        gpu.uuid.clone(),
        gpu.model.clone().unwrap_or_else(|| "-".to_owned()),
        gpu.state.clone(),
        gpu.health.as_deref().map_or_else(|| "-".to_owned(), coloured),
        show(|it| &it.utilization_percent, percent),
        format!("{used} of {memory}"),
        show(|it| &it.temperature_celsius, |value| format!("{value} °C")),
        show(|it| &it.power_milliwatts, |value| format!("{} W", value / 1_000)),
        show(|it| &it.process_count, |value| value.to_string()),
    ];
    if output == Output::Wide {
        cells.push(gpu.milli_tflops.map_or_else(|| "-".to_owned(), |milli| MilliTflops(milli).to_string()));
        cells.push(gpu.index.map_or_else(|| "-".to_owned(), |index| index.to_string()));
        cells.push(show(|it| &it.memory_utilization_percent, percent));
        let processes = readings.map(|readings| readings.processes.as_slice()).unwrap_or_default();
        let each: Vec<String> = processes.iter().map(process).collect();
        cells.push(if each.is_empty() { "-".to_owned() } else { each.join(", ") });
    }
    cells
}

fn shown(reading: &ReadingView, unit: fn(u64) -> String) -> String {
    match reading {
        ReadingView::Value(value) => unit(*value),
        ReadingView::Unsupported(_) => "-".to_owned(),
        ReadingView::Failed(_) => "?".to_owned(),
    }
}

/// What was read of a GPU, row by row.
pub(super) fn reading_rows(readings: &ReadingsView) -> Vec<(&'static str, String)> {
    let percent = |value: u64| format!("{value}%");
    vec![
        ("busy", shown(&readings.utilization_percent, percent)),
        ("memory used", shown(&readings.memory_used_bytes, |value| Bytes(value).to_string())),
        ("memory busy", shown(&readings.memory_utilization_percent, percent)),
        ("temperature", shown(&readings.temperature_celsius, |value| format!("{value} °C"))),
        ("power", shown(&readings.power_milliwatts, |value| format!("{} W", value / 1_000))),
        ("processes", shown(&readings.process_count, |value| value.to_string())),
    ]
}

pub(super) fn process(process: &ProcessView) -> String {
    let used = used(process.memory_bytes, process.sm_percent);
    format!("{} {} ({used})", process.pid, owner(&process.owner))
}

/// What a process has of a GPU: its memory, and how long that was busy for it.
pub(super) fn used(memory_bytes: Option<u64>, sm_percent: Option<u32>) -> String {
    let memory = memory_bytes.map_or_else(|| "?".to_owned(), |bytes| Bytes(bytes).to_string());
    let busy = sm_percent.map_or_else(|| "?".to_owned(), |percent| format!("{percent}%"));
    format!("{memory}, {busy}")
}

/// Whose a process is, in a word.
fn owner(owner: &OwnerView) -> String {
    let OwnerView { kind, uid, namespace, pod, container, name, .. } = owner;
    match (uid, namespace, pod, container) {
        (Some(_), Some(namespace), Some(pod), Some(container)) => format!("{namespace}/{pod}/{container}"),
        (Some(uid), ..) => format!("of pod {uid}, which is gone"),
        (None, ..) if kind == "Gone" => "gone".to_owned(),
        (None, ..) => format!("unknown `{}`", name.as_deref().unwrap_or("?")),
    }
}
