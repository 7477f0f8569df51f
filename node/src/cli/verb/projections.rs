//! `purser projections`.

use crate::api::projections::{ProjectionList, ProjectionView};
use crate::cli::arguments::Output;
use crate::cli::arguments::history::{Projections, ProjectionsVerb};
use crate::cli::client::{Call, Client, encoded};
use crate::cli::failure::Failure;
use crate::cli::show::{Table, line, structured};

/// Lists the projections, or has one built again.
pub(in crate::cli) async fn run(client: &Client, projections: Projections) -> Result<u8, Failure> {
    let output = projections.output;
    match projections.verb {
        None => {
            let list: ProjectionList = client.read(&Call::get("/v1/projections")).await?;
            if !structured(&list, output)? {
                print(&list, output)?;
            }
        }
        Some(ProjectionsVerb::Rebuild { name }) => {
            let call = Call::post(format!("/v1/projections/{}/rebuild", encoded(&name)));
            let begun: ProjectionView = client.change(&call).await?;
            if !structured(&begun, output)? {
                line(&format!("projection/{} is {}", begun.name, begun.state))?;
            }
        }
    }
    Ok(0)
}

fn print(list: &ProjectionList, output: Output) -> Result<(), Failure> {
    if output == Output::Name {
        return list.items.iter().try_for_each(|it| line(&format!("projection/{}", it.name)));
    }
    let mut table = Table::new(&["NAME", "STATE", "GENERATION", "LAYOUT", "CURSOR", "LAG", "DETAIL"]);
    for projection in &list.items {
        let of = |field: fn(&crate::api::projections::GenerationView) -> String| {
            projection.answering.as_ref().map_or_else(|| "-".to_owned(), field)
        };
        table.row(vec![
            projection.name.clone(),
            projection.state.clone(),
            of(|rows| rows.generation.to_string()),
            of(|rows| rows.layout.to_string()),
            of(|rows| rows.cursor.to_string()),
            projection.lag.to_string(),
            detail(projection),
        ]);
    }
    table.print()
}

/// What there is to say beside the state.
pub(super) fn detail(projection: &ProjectionView) -> String {
    let mut parts = Vec::new();
    if let Some(reason) = &projection.reason {
        parts.push(reason.clone());
    }
    if let (Some(building), Some(goal)) = (&projection.building, projection.goal) {
        parts.push(format!("generation {} is at {} of {goal}", building.generation, building.cursor));
    }
    let passed_over = projection.answering.as_ref().map_or(0, |rows| rows.passed_over);
    if passed_over > 0 {
        parts.push(format!("{passed_over} records could not be read"));
    }
    parts.join("; ")
}
