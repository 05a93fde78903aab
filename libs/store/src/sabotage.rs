//! Breaks scripts on purpose, so that tests can see that the checker finds it. Only debug builds listen
//! to `TASKWEIR_SABOTAGE`; a release build has none of this.

#[cfg(debug_assertions)]
use std::{path::PathBuf, sync::LazyLock};

/// A mutation of the scripts: a word, a piece of Lua, and what stands there instead.
#[cfg(debug_assertions)]
const MUTATIONS: [(&str, &str, &str); 6] = [
    (
        "finish-without-fence",
        "local mine = r[5] == attempt and r[6] == holder",
        "local mine = true",
    ),
    (
        "reclaim-without-compare",
        "if named and not (expected and fits) then",
        "named = r[1] ~= false; if false then",
    ),
    (
        "reclaim-without-compare",
        "if #redis.call('XCLAIM', stream, group, ARGV[2], lease, entry, 'JUSTID') == 0 then",
        "if false then",
    ),
    (
        "apply-without-checkpoint",
        "if current ~= ARGV[1] then return {'moved', current} end",
        "",
    ),
    (
        "trim-past-base",
        "redis.call('XTRIM', log, 'MINID', '=', ARGV[3])",
        "redis.call('XTRIM', log, 'MAXLEN', '=', 0)",
    ),
    (
        "ready-by-maxlen",
        "return redis.call('XADD', stream, '*', 'i', id,",
        "return redis.call('XADD', stream, 'MAXLEN', '=', 3, '*', 'i', id,",
    ),
];

/// Whether all holders are one: then the attempt number alone is the fence.
pub(crate) fn holders_are_alike() -> bool {
    #[cfg(debug_assertions)]
    return word().as_deref() == Some("start-without-nonce");
    #[cfg(not(debug_assertions))]
    false
}

/// What the next program would bring: the word that today's goes on, and a field in every record.
#[cfg(debug_assertions)]
const NEXT: [(&str, &str); 2] = [
    (
        "rehearsal_schema",
        "redis.call('HSETNX', KEYS[1], 'oldest', redis.call('HGET', KEYS[1], 'version'))",
    ),
    (
        "rehearsal_records",
        "-- each: task:*\nfor _, record in ipairs(KEYS) do if redis.call('EXISTS', record) == 1 then redis.call('HSETNX', record, 'rehearsed', 1) end end",
    ),
];

/// Migrations that the next program would bring, in a debug build that is told to play it: for the test that runs
/// two programs side by side over a migration.
pub(crate) fn next_migrations() -> impl Iterator<Item = (&'static str, &'static str)> {
    #[cfg(debug_assertions)]
    return NEXT
        .into_iter()
        .filter(|_| word().as_deref() == Some("next-layout"));
    #[cfg(not(debug_assertions))]
    std::iter::empty()
}

/// The word of the environment.
#[cfg(debug_assertions)]
#[expect(
    clippy::disallowed_methods,
    reason = "no setting of the product: it exists in debug builds alone"
)]
fn word() -> Option<String> {
    std::env::var("TASKWEIR_SABOTAGE").ok()
}

/// Notes that a script is called, by a file of its name in the directory of `TASKWEIR_SCRIPTS_CALLED`: so that tests can
/// tell that they have called them all.
#[cfg(debug_assertions)]
#[expect(
    clippy::disallowed_methods,
    reason = "no setting of the product: it exists in debug builds alone"
)]
pub(crate) fn note_call(script: &str) {
    static NOTES: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("TASKWEIR_SCRIPTS_CALLED").map(PathBuf::from));
    if let Some(notes) = &*NOTES {
        // Without its file the script counts as not called.
        let _ = std::fs::write(notes.join(script), "");
    }
}

/// Notes nothing.
#[cfg(not(debug_assertions))]
pub(crate) const fn note_call(_: &str) {}

/// A script as it is wanted: sound, unless this is a debug build that was told otherwise.
#[cfg(debug_assertions)]
pub(crate) fn broken(code: String) -> String {
    let Some(word) = word() else { return code };
    // Nothing is broken: Redis 7 then refuses every key of another slot, declared or not.
    if word == "strict-slots" {
        return format!("#!lua\n{code}");
    }
    let mine = MUTATIONS.iter().filter(|(name, ..)| *name == word);
    mine.fold(code, |code, (_, sound, broken)| code.replace(sound, broken))
}

/// A script as it is wanted: sound.
#[cfg(not(debug_assertions))]
pub(crate) fn broken(code: String) -> String {
    code
}

#[cfg(test)]
mod tests {
    use super::MUTATIONS;
    use crate::scripts::Script;

    #[test]
    fn every_mutation_finds_what_it_breaks() {
        for (word, sound, _) in MUTATIONS {
            let hit = Script::ALL
                .iter()
                .any(|script| script.source().contains(sound));
            assert!(hit, "{word} breaks nothing");
        }
    }
}
