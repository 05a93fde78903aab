//! The OpenAPI document and its page: what the framework says of the calls, finished so that generators of clients and
//! strict readers take it, with the way to say who one is.

use std::collections::BTreeSet;

use poem::endpoint::make_sync;
use poem::web::Html;
use poem::{Endpoint, IntoResponse};
use serde_json::{Value, json};

const SCHEMAS: &str = "#/components/schemas/";

/// The document as it is served: with its security scheme, and what poem-openapi leaves out or says in a way that
/// generators of clients do not take.
pub(super) fn finished(spec: &str) -> String {
    let mut document: Value = serde_json::from_str(spec).unwrap_or_default();
    single(&mut document);
    whole(&mut document);
    stream(&mut document);
    closed(&mut document);
    described(&mut document);
    // Any call may be made without where there are no keys.
    document["security"] = json!([{}, {"key": []}]);
    document["components"]["securitySchemes"] = json!({"key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A secret of `TASKWEIR_API_KEYS`; where there are none, nobody is asked.",
    }});
    format!("{document:#}")
}

/// A field of another type with words of its own comes as `allOf` of the type and of the words, which stand beside it
/// too. Generators take the words for a second type and leave out the model, and every call that has it.
fn single(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(single),
        Value::Object(map) => {
            let reference = match map
                .get("allOf")
                .and_then(Value::as_array)
                .map(Vec::as_slice)
            {
                Some([reference, Value::Object(words)])
                    if words.iter().all(|(name, word)| map.get(name) == Some(word)) =>
                {
                    Some(reference.clone())
                }
                _ => None,
            };
            if let Some(reference) = reference {
                map.insert("allOf".to_owned(), json!([reference]));
            }
            map.values_mut().for_each(single);
        }
        _ => {}
    }
}

/// Whole numbers come in formats that not every generator knows; that they are not negative says the least of them.
fn whole(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(whole),
        Value::Object(map) => {
            let format = match map.get("format").and_then(Value::as_str) {
                Some("uint8" | "uint16") => Some("int32"),
                Some("uint32" | "uint64") => Some("int64"),
                _ => None,
            };
            if let Some(format) = format {
                map.insert("format".to_owned(), json!(format));
                map.entry("minimum").or_insert(json!(0));
            }
            map.values_mut().for_each(whole);
        }
        _ => {}
    }
}

/// Every operation.
fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(_, path)| path.as_object_mut().into_iter().flatten().map(|(_, of)| of))
}

/// A stream of events comes as a list of them: it is a text, of which no generator reads a list.
fn stream(document: &mut Value) {
    for operation in operations(document) {
        let place = "/responses/200/content/text~1event-stream/schema";
        let Some(schema) = operation.pointer_mut(place) else {
            continue;
        };
        let event = schema["items"].take();
        *schema = json!({
            "description": "The text of the stream; the `data` of each event is a `LogEvent`.",
            "anyOf": [{"type": "string"}, event],
        });
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str);
            found.extend(
                name.and_then(|name| name.strip_prefix(SCHEMAS))
                    .map(ToOwned::to_owned),
            );
            map.values().for_each(|value| references(value, found));
        }
        _ => {}
    }
}

/// What is sent to us may have no field that we do not know.
fn closed(document: &mut Value) {
    let (mut open, mut seen) = (Vec::new(), BTreeSet::new());
    for operation in operations(document) {
        if let Some(body) = operation.get("requestBody") {
            references(body, &mut open);
        }
    }
    while let Some(name) = open.pop() {
        let schema = &mut document["components"]["schemas"][&name];
        if !seen.insert(name) {
            continue;
        }
        references(schema, &mut open);
        if schema["type"] == "object" {
            schema["additionalProperties"] = json!(false);
        }
    }
}

/// An answer that is the only one of its call has no words: those of its type are taken.
fn described(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    for operation in operations(document) {
        let answers = operation["responses"].as_object_mut().into_iter().flatten();
        for (_, answer) in answers.filter(|(_, answer)| answer["description"] == "") {
            let mut found = Vec::new();
            references(&answer["content"], &mut found);
            let words = found
                .first()
                .map(|name| schemas[name]["description"].clone());
            answer["description"] = words.unwrap_or_else(|| json!("It is so."));
        }
    }
}

/// Serves the document.
pub(super) fn endpoint(document: String) -> impl Endpoint {
    make_sync(move |_| {
        let document = document.clone();
        document
            .with_content_type("application/json")
            .into_response()
    })
}

/// Serves Swagger UI, made for `spec`, with the document in its place.
pub(super) fn page(html: &str, spec: &str, document: &str) -> impl Endpoint + use<> {
    let html = html.replacen(spec, document, 1);
    make_sync(move |_| Html(html.clone()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt;

    use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

    /// JSON in which no key stands twice.
    struct Once;

    impl<'de> Deserialize<'de> for Once {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Self)
        }
    }

    impl<'de> Visitor<'de> for Once {
        type Value = Self;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("JSON")
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
            Ok(Self)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
            Ok(Self)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
            Ok(Self)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
            Ok(Self)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self, E> {
            Ok(Self)
        }
        fn visit_unit<E>(self) -> Result<Self, E> {
            Ok(Self)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
            while items.next_element::<Self>()?.is_some() {}
            Ok(Self)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
            let mut seen = BTreeSet::new();
            while let Some(key) = map.next_key::<String>()? {
                map.next_value::<Self>()?;
                if let Some(twice) = seen.replace(key) {
                    return Err(A::Error::custom(format_args!("{twice} stands twice")));
                }
            }
            Ok(Self)
        }
    }

    #[test]
    fn no_key_of_the_document_stands_twice() {
        serde_json::from_str::<Once>(&super::super::service("/").spec())
            .map(drop)
            .unwrap();
    }
}
