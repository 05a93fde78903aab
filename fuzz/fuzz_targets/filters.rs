//! What comes in an address, a form or a cookie: filters of lists and pages, the form of a task, sessions.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use taskweir_runtime::Env;
use taskweir_runtime::access::{ApiKeys, Signer};

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let env = Env::from_pairs([(
        "TASKWEIR_API_KEYS",
        "ops:operator:0123456789abcdef0123456789abcdef",
    )]);
    let keys = ApiKeys::from_env(&env).expect("a good key");
    Signer::new(keys, b"a secret of the installation")
});

fuzz_target!(|text: &str| {
    taskweir_gateway::fuzzing::filter(text);
    taskweir_dashboard::fuzzing::query(text);
    taskweir_dashboard::fuzzing::form(text);
    let session = SIGNER.session(text, 1_000_000);
    assert!(session.is_none(), "nobody signed in");
});
