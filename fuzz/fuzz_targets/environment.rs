//! The environment of every service.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taskweir_runtime::Env;
use taskweir_runtime::access::ApiKeys;
use taskweir_runtime::traces::Endpoint;

// One variable per line, `NAME=value`.
fuzz_target!(|text: &str| {
    let env = Env::from_pairs(text.lines().filter_map(|line| line.split_once('=')));
    if let Ok(redis) = taskweir_settings::redis(&env) {
        taskweir_store::fuzzing::address(&redis.url);
    }
    taskweir_settings::limits(&env).ok();
    taskweir_settings::lease(&env).ok();
    taskweir_settings::migrate(&env).ok();
    taskweir_settings::submit(&env).ok();
    ApiKeys::from_env(&env).ok();
    taskweir_gateway::Config::from_env(&env).ok();
    taskweir_dashboard::Config::from_env(&env).ok();
    Endpoint::from_env(&env).ok();
    taskweir_runtime::admin::address(&env).ok();
    taskweir_projector::Config::from_env(&env).ok();
    taskweir_scheduler::Config::from_env(&env).ok();
    taskweir_worker_service::Config::from_env(&env).ok();
});
