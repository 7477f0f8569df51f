//! Files that mean harm, or are no tables: refused with a reason, and nothing panics.

use proptest::prelude::{any, prop, proptest};
use purser_node::import::{
    Format, ImportError, TABLE_BYTES_MAX, TENANTS_MAX, Verdict, convert, legacy_fields, read,
};

use crate::convert::imported;

fn refused(text: &str, format: Format) -> ImportError {
    read(text.as_bytes(), format).expect_err(text)
}

#[test]
fn what_is_no_table_is_refused_with_its_place() {
    for (text, told) in [
        ("", "there is no quota"),
        ("[]", "there is no quota"),
        ("{}", "there is no quota"),
        ("7", "must be a list"),
        ("[7]", "document 1[0] must be a map"),
        ("a: 7", "document 1: a must be a map"),
        ("a: {enabled: true}\na: {enabled: true}", "given more than once"),
        ("a: [", "line 1"),
        ("quotas: 7", "must be a list"),
    ] {
        let error = refused(text, Format::Yaml).to_string();
        assert!(error.contains(told), "{text:?}: {error}");
    }
    for (text, told) in [
        ("", "there is no quota"),
        ("tenant_id,max_vms\n", "there is no quota"),
        ("tenant,max_vms\na,1\n", "line 1: the first line must name the columns, tenant_id among them"),
        ("tenant_id;max_vms\na;1\n", "line 1"),
        ("tenant_id,max_vms\na\n", "line 2: has 1 cells"),
        ("tenant_id,max_vms\n\na,1,2\n", "line 3: has 3 cells"),
        ("tenant_id,max_vms,vm_limits.max_vms\na,1,2\n", "vm_limits.max_vms is given more than once"),
        ("tenant_id\n\"a\n", "line 2: a quote is not closed"),
    ] {
        let error = refused(text, Format::Csv).to_string();
        assert!(error.contains(told), "{text:?}: {error}");
    }
    let error = read(b"tenant_id\na\n\xff", Format::Csv).expect_err("no text").to_string();
    assert_eq!(error, "line 3: is not UTF-8");
}

#[test]
fn sizes_are_bounded() {
    let large = vec![b' '; TABLE_BYTES_MAX + 1];
    let rows = |count: usize| {
        let rows: String = (0..count).map(|n| format!("t{n},5\n")).collect();
        format!("tenant_id,max_vms\n{rows}")
    };
    for format in [Format::Yaml, Format::Csv] {
        assert_eq!(read(&large, format), Err(ImportError::TooLarge));
    }
    assert_eq!(refused(&rows(TENANTS_MAX + 1), Format::Csv), ImportError::TooMany);
    assert_eq!(imported(rows(TENANTS_MAX).as_bytes(), Format::Csv).len(), TENANTS_MAX);
    let list = |count: usize| format!("[{}]", vec!["{tenant_id: a}"; count].join(","));
    assert_eq!(refused(&list(TENANTS_MAX + 1), Format::Yaml), ImportError::TooMany);
    let deep = format!("a: {}{}", "[".repeat(20), "]".repeat(20));
    assert!(matches!(refused(&deep, Format::Yaml), ImportError::Syntax(_)));
    let columns: String = (0..300).map(|n| format!(",c{n}")).collect();
    assert!(refused(&format!("tenant_id{columns}\n"), Format::Csv).to_string().contains("256 columns"));
}

#[test]
fn what_is_shown_is_short_and_printable() {
    let text = format!(
        "{{\"tenant_id\": \"a\\u001b[31m{}\", \"\\u0007{}\": \"\\u001b\"}}",
        "x".repeat(500),
        "y".repeat(500)
    );
    let imported = imported(text.as_bytes(), Format::Yaml);
    let shown = imported
        .iter()
        .flat_map(|it| it.findings.iter().map(move |finding| [&it.name, &finding.field, &finding.old]));
    for text in shown.flatten() {
        assert!(text.len() < 500 && !text.contains(char::is_control), "{text:?}");
    }
    assert!(imported[0].tenant.is_none());
}

proptest! {
    #[test]
    fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..300)) {
        for format in [Format::Yaml, Format::Csv] {
            if let Ok(quotas) = read(&text, format) {
                let _ = convert(quotas);
            }
        }
    }

    #[test]
    fn any_value_of_any_field_is_taken_or_refused(
        field in 0..legacy_fields().len(),
        value in "[-+]?[0-9]{1,22}(\\.[0-9])?|true|false|[a-z]{1,3}",
    ) {
        let path = legacy_fields()[field].path;
        let text = format!("tenant_id,{path}\na,{value}\n");
        let imported = imported(text.as_bytes(), Format::Csv);
        let found = imported[0].findings.iter().find(|finding| finding.field == path);
        let found = found.unwrap_or_else(|| panic!("nothing is said of {path}"));
        match &imported[0].tenant {
            Some((_, tenant)) => assert_eq!(tenant.check(), Ok(()), "{text}"),
            None => assert_eq!(found.verdict, Verdict::Refused, "{text}"),
        }
    }
}
