//! Lists in the documentation that are written from the code's own tables.

use std::path::PathBuf;

const BEGIN: &str = "<!-- fields: begin -->\n";
const END: &str = "<!-- fields: end -->\n";

/// Checks that the list of fields in a page of `docs/` has these rows below this head. With `UPDATE_DOCS=1` it is written
/// anew instead.
#[track_caller]
pub(crate) fn check_list(page: &str, head: &str, rows: impl Iterator<Item = String>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
    let (before, rest) = text.split_once(BEGIN).expect("the list of fields has a beginning");
    let (list, after) = rest.split_once(END).expect("the list of fields has an end");
    let line = "|---".repeat(head.matches('|').count() - 1);
    let rows: String = rows.map(|row| format!("{row}\n")).collect();
    let expected = format!("\n{head}\n{line}|\n{rows}\n");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}"))
            .expect("the file can be written");
    } else {
        assert_eq!(list, expected, "run this test with UPDATE_DOCS=1 to write the list anew");
    }
}
