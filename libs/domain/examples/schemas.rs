//! Writes the JSON Schema of every event into the directory named by the first argument.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let dir: PathBuf = std::env::args_os()
        .nth(1)
        .expect("a directory as first argument")
        .into();
    for (name, schema) in taskweir_domain::schemas() {
        let text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
        std::fs::write(dir.join(format!("{name}.json")), text + "\n")?;
    }
    Ok(())
}
