//! The documentation of the import says what the table of fields says.

use purser_node::import::{LegacyField, legacy_fields};

use crate::document::check_list;

/// Run with `UPDATE_DOCS=1` to write the list anew.
#[test]
fn the_documented_fields_are_those_of_a_quota() {
    let row = |field: &LegacyField| {
        let result = if field.is_taken() { "taken" } else { "refused" };
        let default = field.default.map_or_else(|| "none".to_owned(), |default| format!("`{default}`"));
        format!("| `{}` | {default} | {result} | {} |", field.path, field.note)
    };
    let head = "| field | default | result | what it is now, or why it is refused |";
    check_list("migration.md", head, legacy_fields().iter().map(row));
}
