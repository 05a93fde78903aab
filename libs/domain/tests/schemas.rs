//! The committed schemas are the ones the code has: a change of an event is a visible change.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn committed_schemas_equal_the_code() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let schemas = taskweir_domain::schemas();
    for (name, schema) in &schemas {
        let path = dir.join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; run `make schemas`", path.display()));
        let committed: serde_json::Value = serde_json::from_str(&text).expect("committed JSON");
        assert_eq!(
            &committed, schema,
            "{name} changed; run `make schemas` and review"
        );
    }
    let files: BTreeSet<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let known: BTreeSet<String> = schemas.keys().map(|name| format!("{name}.json")).collect();
    assert_eq!(
        files, known,
        "an event cannot be taken back: old logs hold it"
    );
}
