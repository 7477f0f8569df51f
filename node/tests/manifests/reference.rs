//! The documentation of manifests says what the table of fields says.

use purser_node::manifest::supported_fields;

use crate::sample::repository;

const BEGIN: &str = "<!-- fields: begin -->\n";
const END: &str = "<!-- fields: end -->\n";

/// Run with `UPDATE_DOCS=1` to write the list anew.
#[test]
fn the_documented_fields_are_the_supported_ones() {
    let path = repository("docs/manifests.md");
    let text = std::fs::read_to_string(&path).expect("docs/manifests.md can be read");
    let (before, rest) = text.split_once(BEGIN).expect("the list of fields has a beginning");
    let (list, after) = rest.split_once(END).expect("the list of fields has an end");
    let rows: String = supported_fields()
        .iter()
        .map(|field| format!("| `{}` | {} | {} |\n", field.path, field.holds, field.note))
        .collect();
    let expected = format!("\n| field | holds | meaning |\n|---|---|---|\n{rows}\n");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}"))
            .expect("the file can be written");
    } else {
        assert_eq!(list, expected, "run this test with UPDATE_DOCS=1 to write the list anew");
    }
}
