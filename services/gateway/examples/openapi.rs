//! Prints the OpenAPI document.

fn main() {
    let document: serde_json::Value =
        serde_json::from_str(&taskweir_gateway::openapi()).expect("our own document");
    println!("{}", serde_json::to_string_pretty(&document).expect("JSON"));
}
