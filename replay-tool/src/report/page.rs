//! The page of a report: HTML with its style and charts inside; nothing is fetched and nothing runs.

use purser_events::Timestamp;
use purser_events::pod::state::Phase;
use serde_json::{Value, json};

use super::lists::List;
use super::{Bar, Report, charts};
use crate::render;
use crate::spans::seconds;

/// Most streams in quarantine that are told of one by one.
const QUARANTINED_MAX: usize = 100;

const STYLE: &str = include_str!("style.css");

/// Writes the page. `source` says what was read, `verdict` whether it is sound.
pub(crate) fn page(report: &Report, source: &str, verdict: Result<(), &str>, hash: &str) -> String {
    let title = format!("Purser report: {}", report.host);
    let parts = [
        head(&title),
        format!("<h1>{}</h1>", escaped(&title)),
        summary(report, source, verdict, hash),
        answers(report, verdict),
        pods(report),
        failures(report),
        waits(report),
        report.watched.violations(report.range),
        section("denied", "What was denied or taken away", &list(&report.lists.denials)),
        allocation(report),
        gpus(report),
        report.slots.section(report.range),
        integrity(report),
        types(report),
        "</body></html>\n".to_owned(),
    ];
    parts.join("\n")
}

fn head(title: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{}</title><style>{STYLE}</style></head><body>",
        escaped(title)
    )
}

fn summary(report: &Report, source: &str, verdict: Result<(), &str>, hash: &str) -> String {
    let sound = match verdict {
        Ok(()) => "sound: every record was checked against the one before it".to_owned(),
        Err(reason) => format!("NOT SOUND, and this page is of what comes before the damage: {reason}"),
    };
    let (first, last) = (report.range.first.to_string(), report.range.last.to_string());
    let rows = [
        ("Read from", source.to_owned()),
        ("From", first),
        ("To", last),
        ("Journal", sound),
        ("Last record", format!("{} with hash {hash}", report.folded.world.head)),
    ];
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, text)| vec![format!("<td>{name}"), cell(&text)]).collect();
    table("summary", &[], &rows)
}

/// The numbers of the answers, for programs.
pub(crate) fn answered(report: &Report) -> Value {
    let lists = &report.lists;
    json!({
        "admitted": report.pods.admitted, "failures": lists.failures.count, "failedForGood": report.pods.failed,
        "waited": lists.waited, "denied": lists.denials.count, "violations": report.watched.count,
        "oddities": oddities(report), "tasksEnded": report.slots.ended, "slots": report.slots.json(),
    })
}

fn oddities(report: &Report) -> u64 {
    report.lists.oddities.count + report.unclean_starts + report.folded.world.quarantined.len() as u64
}

fn answers(report: &Report, verdict: Result<(), &str>) -> String {
    let lists = &report.lists;
    let running = report.folded.world.pods.values().filter(|pod| pod.word() == "Running").count();
    let now = report.range.last.0;
    let longest = lists.longest(now).first().map(|wait| format!("; the longest: {}", seconds(wait.us(now))));
    let odd = oddities(report);
    let answers = [
        (
            "ran",
            report.pods.admitted.to_string(),
            format!("pods were admitted; {running} run at the end"),
            false,
        ),
        (
            "failures",
            lists.failures.count.to_string(),
            format!("failures; {} pods failed for good", report.pods.failed),
            lists.failures.count > 0,
        ),
        (
            "waits",
            lists.waited.to_string(),
            format!("pods waited for resources{}", longest.unwrap_or_default()),
            false,
        ),
        (
            "denied",
            lists.denials.count.to_string(),
            "times something was denied or taken away".to_owned(),
            false,
        ),
        (
            "violations",
            report.watched.count.to_string(),
            "times a limit was violated".to_owned(),
            report.watched.count > 0,
        ),
        ("slots", report.slots.ended.to_string(), "tasks of pools ended".to_owned(), false),
        (
            "integrity",
            if verdict.is_ok() { "sound" } else { "damaged" }.to_owned(),
            format!("journal of {} records; {odd} oddities", report.records),
            verdict.is_err(),
        ),
    ];
    let items: String = answers
        .iter()
        .map(|(id, number, text, bad)| {
            let class = if *bad { " class=\"bad\"" } else { "" };
            format!("<li{class}><a href=\"#{id}\"><b>{}</b></a>{}</li>", escaped(number), escaped(text))
        })
        .collect();
    format!("<ul class=\"answers\">{items}</ul>")
}

fn pods(report: &Report) -> String {
    let shown = report.pods.shown();
    let bars: Vec<(String, Vec<Bar>)> =
        shown.iter().map(|(_, life)| (life.name.clone(), life.phases.clone())).collect();
    let legend: String = Phase::WORDS
        .iter()
        .map(|word| {
            let class = word.to_lowercase();
            format!(
                "<span><svg viewBox=\"0 0 12 12\"><rect class=\"bar {class}\" width=\"12\" height=\"12\"/></svg>{word}</span>"
            )
        })
        .collect();
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|(uid, life)| {
            let from = life.phases.first().map(|bar| Timestamp(bar.from).to_string()).unwrap_or_default();
            vec![
                cell(&life.name),
                cell(&uid.to_string()),
                cell(&life.tenant),
                time(&from),
                cell(&life.phase),
                number(&life.restarts.to_string()),
            ]
        })
        .collect();
    let left_out = report.pods.admitted.saturating_sub(shown.len() as u64);
    let note = if left_out > 0 {
        format!(
            "<p>{left_out} more pods are gone and are not shown: those that failed and the latest are.</p>"
        )
    } else {
        String::new()
    };
    let content = format!(
        "<p class=\"legend\">{legend}</p>{}{note}{}",
        charts::rows("pods-chart", report.range, &bars, |bar| bar.what.to_lowercase()),
        table("pods", &["pod", "uid", "tenant", "admitted", "phase", "#restarts"], &rows)
    );
    section("ran", "What ran", &content)
}

fn failures(report: &Report) -> String {
    let reasons: Vec<Vec<String>> = report
        .lists
        .reasons
        .iter()
        .map(|(reason, count)| vec![cell(reason), number(&count.to_string())])
        .collect();
    let content =
        format!("{}{}", table("reasons", &["why", "#times"], &reasons), list(&report.lists.failures));
    section("failures", "What failed, and why", &content)
}

fn waits(report: &Report) -> String {
    let now = report.range.last.0;
    let rows: Vec<Vec<String>> = report
        .lists
        .longest(now)
        .into_iter()
        .map(|wait| {
            vec![
                cell(&wait.pod),
                cell(&wait.tenant),
                time(&Timestamp(wait.since).to_string()),
                number(&seconds(wait.us(now))),
                cell(wait.end),
                cell(&wait.reasons),
            ]
        })
        .collect();
    if rows.is_empty() {
        return section("waits", "Who waited, and for what", "<p>Nobody.</p>");
    }
    let table = table("waiting", &["pod", "tenant", "since", "#how long", "then", "for want of"], &rows);
    section("waits", "Who waited, and for what", &table)
}

fn allocation(report: &Report) -> String {
    let charts: String = report
        .uses
        .iter()
        .filter(|(_, of)| of.capacity.iter().chain(&of.allocated).any(|amount| *amount > 0))
        .map(|(kind, of)| {
            // Names of custom resources are the operator's: an id takes less.
            let id = kind.word().replace(|char: char| !char.is_ascii_alphanumeric(), "-");
            let chart = charts::steps(&format!("use-{id}"), report.range, of, &|amount| kind.show(amount));
            format!("<h3>{}</h3>{chart}", escaped(kind.word()))
        })
        .collect();
    let told = "<p>What was given out, the most in each part of the time; dashed: what there was.</p>";
    section(
        "allocation",
        "What was given out",
        &format!("{told}{charts}{}", more(report.uses_more, "resources")),
    )
}

fn gpus(report: &Report) -> String {
    let mut rows: Vec<(String, Vec<Bar>)> = Vec::new();
    for (gpu, held) in &report.gpus {
        // Who has a part of a GPU at the same time as others has a row of his own.
        let mut lanes: Vec<Vec<Bar>> = vec![Vec::new()];
        for (_, bar) in held {
            let free = |lane: &&mut Vec<Bar>| {
                lane.last().is_none_or(|last: &Bar| last.to.is_some_and(|to| to <= bar.from))
            };
            match lanes.iter_mut().find(free) {
                Some(lane) => lane.push(bar.clone()),
                None => lanes.push(vec![bar.clone()]),
            }
        }
        rows.extend(lanes.into_iter().map(|lane| (gpu.clone(), lane)));
    }
    let health = report.watched.health(report.range);
    if rows.is_empty() && health.is_empty() {
        return section("gpus", "GPUs", "<p>The node has none.</p>");
    }
    let held = charts::rows("gpus-chart", report.range, &rows, |_| "held".to_owned());
    let more = more(report.gpus_more, "GPUs");
    section("gpus", "Who held which GPU", &format!("{held}{more}{health}"))
}

/// That there is more than is drawn, if there is.
pub(super) fn more(count: usize, what: &str) -> String {
    if count > 0 { format!("<p>… and {count} more {what}.</p>") } else { String::new() }
}

fn integrity(report: &Report) -> String {
    let world = &report.folded.world;
    let mut rows = vec![
        vec![cell("starts of the node"), number(&report.starts.to_string())],
        vec![cell("starts without an orderly stop before them"), number(&report.unclean_starts.to_string())],
        vec![cell("payloads that are redacted or sealed"), number(&report.withheld.to_string())],
        vec![cell("payloads that cannot be read"), number(&report.unread.to_string())],
        vec![
            cell("ways in which the machine differs from the ledger at the end"),
            number(&world.ledger.drifts.len().to_string()),
        ],
    ];
    let more = world.quarantined.len().saturating_sub(QUARANTINED_MAX);
    for (stream, found) in world.quarantined.iter().take(QUARANTINED_MAX) {
        let text = format!("{stream} from record {}: {}", found.seq, found.reason);
        rows.push(vec![cell(&text), number("not folded")]);
    }
    if more > 0 {
        rows.push(vec![cell(&format!("… and {more} more streams")), number("not folded")]);
    }
    let content = format!("{}{}", table("counts", &[], &rows), list(&report.lists.oddities));
    section("integrity", "Integrity", &content)
}

fn types(report: &Report) -> String {
    let rows: Vec<Vec<String>> =
        report.types.iter().map(|(kind, count)| vec![cell(kind), number(&count.to_string())]).collect();
    section("types", "Records by type", &table("by-type", &["type", "#records"], &rows))
}

fn list(list: &List) -> String {
    if list.count == 0 {
        return "<p>Nothing.</p>".to_owned();
    }
    let rows: Vec<Vec<String>> = list
        .last
        .iter()
        .rev()
        .map(|line| {
            let text = format!("<td><code>{}</code>", escaped(&line.text));
            let seq = number(&line.seq.to_string());
            vec![seq, time(&line.time.to_string()), cell(line.kind), cell(&line.of), text]
        })
        .collect();
    let shown = list.last.len() as u64;
    let note = if shown < list.count {
        format!("<p>The last {shown} of {}.</p>", list.count)
    } else {
        String::new()
    };
    format!("{note}{}", table("list", &["#record", "time", "type", "of", "what"], &rows))
}

pub(super) fn section(id: &str, title: &str, content: &str) -> String {
    format!("<section id=\"{id}\"><h2>{title}</h2>{content}</section>")
}

/// A table of cells; a column whose name begins with `#` is of numbers.
pub(super) fn table(class: &str, names: &[&str], rows: &[Vec<String>]) -> String {
    let head: String = names
        .iter()
        .map(|name| match name.strip_prefix('#') {
            Some(name) => format!("<th class=\"number\">{name}"),
            None => format!("<th>{name}"),
        })
        .collect();
    let body: String = rows.iter().map(|row| format!("<tr>{}</tr>\n", row.concat())).collect();
    format!("<table class=\"{class}\"><tr>{head}</tr>\n{body}</table>")
}

pub(super) fn cell(text: &str) -> String {
    format!("<td>{}", escaped(text))
}

pub(super) fn number(text: &str) -> String {
    format!("<td class=\"number\">{}", escaped(text))
}

fn time(text: &str) -> String {
    format!("<td class=\"time\">{}", escaped(text))
}

/// Text of others, which must stay text.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in render::safe(text).chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            char => out.push(char),
        }
    }
    out
}
