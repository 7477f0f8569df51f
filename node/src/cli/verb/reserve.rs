//! `purser reserve`, `purser cancel-reservation` and `purser get reservations`.

use serde_json::json;

use crate::api::ledger::LedgerAccepted;
use crate::api::ledger::reservations::{ReservationList, ReservationMadeView, ReservationView, ReserveBody};
use crate::api::ledger::wish::Wish;
use crate::cli::arguments::Output;
use crate::cli::arguments::ledger::{CancelReservation, Reserve};
use crate::cli::client::{Call, Client, encoded, with_query};
use crate::cli::failure::Failure;
use crate::cli::name::DEFAULT_NAMESPACE;
use crate::cli::show::{Table, line, structured};

fn path(id: &str) -> String {
    format!("/v1/reservations/{}", encoded(id))
}

/// Has something kept.
pub(in crate::cli) async fn run(
    client: &Client,
    namespace: Option<&str>,
    reserve: Reserve,
) -> Result<u8, Failure> {
    let output = reserve.output;
    let body = ReserveBody {
        namespace: namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned(),
        ttl_ms: u64::try_from(reserve.ttl.as_millis()).unwrap_or(u64::MAX),
        resources: Wish {
            cpu: reserve.cpu,
            exclusive_cpus: reserve.exclusive_cpus,
            memory: reserve.memory,
            disk: reserve.disk,
            gpu_count: reserve.gpu_count,
            gpu_share: reserve.gpu_share,
            gpu_memory: reserve.gpu_memory,
            gpu_uuids: reserve.gpu_uuids.into_iter().collect(),
            ports: reserve.ports,
            fixed_ports: reserve.fixed_ports.into_iter().collect(),
            subnet: reserve.subnet,
            custom: reserve.custom.into_iter().collect(),
        },
    };
    let call = Call::post("/v1/reservations").json(&json!(body));
    let made: ReservationMadeView = client.change(&call).await?;
    if output == Output::Name {
        line(&format!("reservation/{}", made.id))?;
    } else if !structured(&made, output)? {
        line(&format!("reservation/{} token {} until {}", made.id, made.token, made.expires_at))?;
    }
    Ok(0)
}

/// Gives a reservation up.
pub(in crate::cli) async fn cancel(client: &Client, cancel: CancelReservation) -> Result<u8, Failure> {
    let force = cancel.force.then(|| "true".to_owned());
    let query = [("token", cancel.token.map(|token| token.to_string())), ("force", force)];
    let target = with_query(&path(&cancel.id), &query);
    let done: LedgerAccepted = client.change(&Call::delete(target)).await?;
    if !structured(&done, cancel.output)? {
        line(&format!("reservation/{} cancelled", cancel.id))?;
    }
    Ok(0)
}

/// Lists reservations, or shows one.
pub(super) async fn get(client: &Client, only: Option<&str>, output: Output) -> Result<u8, Failure> {
    if let Some(id) = only {
        let reservation: ReservationView = client.read(&Call::get(path(id))).await?;
        if !structured(&reservation, output)? {
            print(&[reservation], output)?;
        }
        return Ok(0);
    }
    let list: ReservationList = client.read(&Call::get("/v1/reservations")).await?;
    if !structured(&list, output)? {
        print(&list.items, output)?;
    }
    Ok(0)
}

fn print(reservations: &[ReservationView], output: Output) -> Result<(), Failure> {
    if output == Output::Name {
        return reservations.iter().try_for_each(|it| line(&format!("reservation/{}", it.id)));
    }
    let mut table = Table::new(&["ID", "OWNER", "TENANT", "TOKEN", "UNTIL", "RESOURCES"]);
    for reservation in reservations {
        let dash = || "-".to_owned();
        let amounts = reservation.resources.amounts.iter();
        let amounts: Vec<String> = amounts.map(|(kind, amount)| format!("{kind} {amount}")).collect();
        table.row(vec![
            reservation.id.clone(),
            reservation.owner.clone(),
            reservation.tenant.clone().unwrap_or_else(dash),
            reservation.token.map_or_else(dash, |token| token.to_string()),
            reservation.expires_at.to_string(),
            amounts.join(", "),
        ]);
    }
    table.print()
}
