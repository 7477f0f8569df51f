//! `purser import`.

use purser_events::ledger::{Tenant, TenantId};
use serde::{Deserialize, Serialize};

use crate::cli::arguments::Output;
use crate::cli::arguments::import::{Quotas, TableFormat};
use crate::cli::client::{Call, Client, encoded};
use crate::cli::failure::Failure;
use crate::cli::files;
use crate::cli::show::{Table, line, structured};
use crate::import::{self, Compared, Finding, Format, Imported, TABLE_BYTES_MAX};

/// What became of a file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dry_run: bool,
    tenants: Vec<Standing>,
}

/// What became of a tenant.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Standing {
    tenant: String,
    outcome: Outcome,
    /// Why the service refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    fields: Vec<Finding>,
}

/// What became of a tenant, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// The service did not know it.
    Created,
    /// It was otherwise before.
    Changed,
    /// It was so already.
    Unchanged,
    /// It could be sent; it is not known what the service has.
    Checked,
    /// Its quota is wrong, or the service would not have it.
    Refused,
    /// The service went away before.
    Unsent,
}

/// A tenant as the service tells of it.
#[derive(Debug, Deserialize)]
struct TenantView {
    tenant: Option<Tenant>,
}

/// What the service says of a tenant that it was sent.
#[derive(Debug, Deserialize)]
struct TenantSetView {
    changed: bool,
}

/// Takes over a table of quotas; a tenant that is refused does not hold up the others.
pub(in crate::cli) async fn quotas(client: &Client, arguments: Quotas) -> Result<u8, Failure> {
    let (place, text) = files::read_text(&arguments.file, TABLE_BYTES_MAX)?;
    let read = import::read(&text, format(&arguments));
    let read = read.map_err(|error| Failure::Manifest { place, message: error.to_string() })?;
    let mut gone = None;
    let mut tenants = Vec::new();
    for Imported { name, tenant, findings: mut fields } in import::convert(read) {
        let left = if arguments.dry_run { Outcome::Checked } else { Outcome::Unsent };
        let (outcome, reason) = match tenant {
            None => (Outcome::Refused, None),
            Some(_) if gone.is_some() => (left, None),
            Some((id, tenant)) => match take(client, &id, &tenant, &mut fields, arguments.dry_run).await {
                Ok(outcome) => (outcome, None),
                Err(failure @ (Failure::Refused(_) | Failure::Senseless(_))) => {
                    (Outcome::Refused, Some(failure.sentence()))
                }
                Err(failure) => {
                    gone = Some(failure);
                    (left, None)
                }
            },
        };
        tenants.push(Standing { tenant: name, outcome, reason, fields });
    }
    let report = Report { dry_run: arguments.dry_run, tenants };
    if !structured(&report, if arguments.json { Output::Json } else { Output::Table })? {
        print(&report)?;
    }
    match gone {
        Some(failure) => Err(failure),
        None if report.tenants.iter().any(|tenant| tenant.outcome == Outcome::Refused) => Err(Failure::Some),
        None => Ok(0),
    }
}

fn format(arguments: &Quotas) -> Format {
    let is_csv = || arguments.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    match arguments.format {
        Some(TableFormat::Csv) => Format::Csv,
        Some(TableFormat::Json | TableFormat::Yaml) => Format::Yaml,
        None if is_csv() => Format::Csv,
        None => Format::Yaml,
    }
}

/// Compares a tenant with what the service has, and sends it if it differs, unless it is only a try.
async fn take(
    client: &Client,
    id: &TenantId,
    imported: &Tenant,
    fields: &mut [Finding],
    dry_run: bool,
) -> Result<Outcome, Failure> {
    let target = format!("/v1/tenants/{}", encoded(id.as_str()));
    let held = client.read::<TenantView>(&Call::get(target.as_str())).await?.tenant;
    let wanted = Imported::onto(imported, held.as_ref());
    import::compare(fields, held.as_ref(), &wanted);
    let becomes = match &held {
        None => Outcome::Created,
        Some(held) if *held == wanted => return Ok(Outcome::Unchanged),
        Some(_) => Outcome::Changed,
    };
    if dry_run {
        return Ok(becomes);
    }
    let body = serde_json::to_value(&wanted).map_err(|error| Failure::Usage(error.to_string()))?;
    let set: TenantSetView = client.change(&Call::put(target).json(&body)).await?;
    Ok(if set.changed { becomes } else { Outcome::Unchanged })
}

fn print(report: &Report) -> Result<(), Failure> {
    let mut table = Table::new(&["TENANT", "FIELD", "RESULT", "OLD", "NEW", "IN SERVICE", "NOTE"]);
    for standing in &report.tenants {
        for finding in &standing.fields {
            let default = if finding.is_default { " (default)" } else { "" };
            table.row(vec![
                standing.tenant.clone(),
                finding.field.clone(),
                finding.verdict.word().to_owned(),
                format!("{}{default}", finding.old),
                finding.new.clone().unwrap_or_else(|| "-".to_owned()),
                finding.compared.as_ref().map_or_else(|| "-".to_owned(), Compared::sentence),
                finding.note.clone().unwrap_or_default(),
            ]);
        }
    }
    table.print()?;
    let suffix = if report.dry_run { " (dry run)" } else { "" };
    for standing in &report.tenants {
        let reason = standing.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        line(&format!("tenant/{} {}{reason}{suffix}", standing.tenant, word(standing.outcome)))?;
    }
    Ok(())
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Changed => "changed",
        Outcome::Unchanged => "unchanged",
        Outcome::Checked => "checked",
        Outcome::Refused => "refused",
        Outcome::Unsent => "not sent",
    }
}
