//! What a pod and its containers may use, in lines for people.

use std::collections::BTreeMap;

use crate::api::view::PodView;
use crate::cli::failure::Failure;
use crate::cli::show::{coloured, field, line};

/// Amounts, as in `cpu 500m, memory 64Mi`.
pub(super) fn listed(amounts: &BTreeMap<String, String>) -> String {
    let each: Vec<String> = amounts.iter().map(|(name, amount)| format!("{name} {amount}")).collect();
    if each.is_empty() { "none".to_owned() } else { each.join(", ") }
}

/// The resize that a pod saw last, if it saw one.
pub(super) fn last_resize(pod: &PodView) -> Result<(), Failure> {
    let Some(resize) = &pod.status.purser.resize else { return Ok(()) };
    let tier = resize.tier.as_ref().map_or_else(String::new, |tier| format!(", tier {tier}"));
    field("Resize", &format!("{} (generation {}{tier})", coloured(&resize.state), resize.generation))?;
    for change in &resize.changes {
        line(&format!("  {change}"))?;
    }
    resize.message.iter().try_for_each(|why| line(&format!("  all is as before: {why}")))
}
