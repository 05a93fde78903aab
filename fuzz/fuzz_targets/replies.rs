//! What Redis answers, read as every kind of answer.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use redis::Value;

#[derive(Debug, Arbitrary)]
enum Reply {
    Nil,
    Okay,
    Int(i64),
    Bytes(Vec<u8>),
    Text(String),
    Number(f64),
    List(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
}

fn value(reply: Reply) -> Value {
    match reply {
        Reply::Nil => Value::Nil,
        Reply::Okay => Value::Okay,
        Reply::Int(number) => Value::Int(number),
        Reply::Bytes(bytes) => Value::BulkString(bytes),
        Reply::Text(text) => Value::SimpleString(text),
        Reply::Number(number) => Value::Double(number),
        Reply::List(items) => Value::Array(items.into_iter().map(value).collect()),
        Reply::Map(pairs) => Value::Map(
            pairs
                .into_iter()
                .map(|(key, of)| (value(key), value(of)))
                .collect(),
        ),
    }
}

fuzz_target!(|reply: Reply| taskweir_store::fuzzing::reply(&value(reply)));
