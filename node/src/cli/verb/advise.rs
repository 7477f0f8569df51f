//! `purser advise`.

use crate::api::ledger::advice::{AdviceList, AdviceView};
use crate::cli::arguments::Output;
use crate::cli::client::{Call, Client};
use crate::cli::failure::Failure;
use crate::cli::show::{Table, line, structured};

/// Shows what recorded use gives reason to say.
pub(in crate::cli) async fn run(client: &Client, output: Output) -> Result<u8, Failure> {
    let list: AdviceList = client.read(&Call::get("/v1/advice")).await?;
    if structured(&list, output)? {
        return Ok(0);
    }
    if output == Output::Name {
        list.items.iter().try_for_each(|it| line(&it.name))?;
        return Ok(0);
    }
    if list.items.is_empty() {
        line("nothing to advise: use is recorded every five minutes, and an hour of it is needed")?;
        return Ok(0);
    }
    let mut table = Table::new(&["SUBJECT", "RESOURCE", "ADVICE", "CERTAINTY"]);
    for AdviceView { name, advice } in &list.items {
        let certainty = serde_json::to_value(advice.certainty.sureness).ok();
        let certainty = certainty.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
        table.row(vec![
            name.clone(),
            advice.resource.to_string(),
            advice.sentence.clone(),
            format!("{certainty}: {}", advice.certainty.why),
        ]);
    }
    table.print()?;
    Ok(0)
}
