//! Counts what the ledger refuses.

use std::collections::BTreeSet;

use metrics::counter;
use purser_events::ledger::{LedgerRejection, ResourceKind};

use crate::metric;

/// Counts one refusal, under each resource that there was too little of.
pub(super) fn refused(rejection: &LedgerRejection) {
    let LedgerRejection::Insufficient { shortages } = rejection else { return };
    let kinds: BTreeSet<&ResourceKind> = shortages.iter().map(|shortage| &shortage.kind).collect();
    for kind in kinds {
        counter!(metric::ADMISSIONS_REFUSED.name, "resource" => label(kind)).increment(1);
    }
}

/// A resource that the node does not have is named by whoever asks: those are one series.
fn label(kind: &ResourceKind) -> String {
    match kind {
        ResourceKind::Custom(_) => "custom".to_owned(),
        known => known.word().to_owned(),
    }
}
