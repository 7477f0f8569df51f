//! The documentation of manifests says what the table of fields says.

use purser_node::manifest::{SupportedField, supported_fields};

use crate::document::check_list;

/// Run with `UPDATE_DOCS=1` to write the list anew.
#[test]
fn the_documented_fields_are_the_supported_ones() {
    let row = |field: &SupportedField| format!("| `{}` | {} | {} |", field.path, field.holds, field.note);
    check_list("manifests.md", "| field | holds | meaning |", supported_fields().iter().map(row));
}
