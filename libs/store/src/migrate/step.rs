//! One change of the layout: of the schema alone, or of every key of a kind.

use redis::Value;

use super::Lock;
use crate::error::StoreError;
use crate::keys::{self, Keys};
use crate::reply::Reader;
use crate::target::Connection;

/// The first line of a script that changes keys of the partitions, before the pattern of their names within one.
const EACH: &str = "-- each: ";
/// Keys of one call: what others wait for.
const KEYS_AT_ONCE: usize = 500;

/// What a script changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope<'a> {
    Schema,
    /// Keys of every partition, by pattern.
    Each(&'a str),
}

fn scope(script: &str) -> Scope<'_> {
    let pattern = script
        .lines()
        .next()
        .and_then(|line| line.strip_prefix(EACH));
    pattern.map_or(Scope::Schema, |pattern| Scope::Each(pattern.trim()))
}

/// What a step is told of the layout.
pub(super) struct Layout<'a> {
    pub(super) prefix: &'a str,
    pub(super) partitions: usize,
    pub(super) suffixes: &'a str,
}

/// Makes a change. Should it end in the middle, it is made again from its beginning: scripts are idempotent.
///
/// # Errors
/// Redis is away, or the lock was lost.
pub(super) async fn run(
    connection: &mut Connection,
    lock: &Lock,
    script: &str,
    layout: &Layout<'_>,
) -> Result<(), StoreError> {
    let call = redis::Script::new(script);
    let Scope::Each(pattern) = scope(script) else {
        call.key(keys::schema(layout.prefix))
            .arg(layout.partitions)
            .arg(layout.suffixes)
            .invoke_async::<()>(connection)
            .await?;
        return Ok(());
    };
    let scan = redis::Script::new(include_str!("../lua/scan.lua"));
    let reader = Reader("keys of a migration");
    for partition in Keys::of_layout(layout.prefix, layout.suffixes.split_whitespace()) {
        let (log, pattern) = (partition.log(), partition.like(pattern));
        let mut cursor = "0".to_owned();
        loop {
            lock.renew(connection).await?;
            let page: Value = scan
                .key(&log)
                .arg(&cursor)
                .arg(&pattern)
                .arg(KEYS_AT_ONCE)
                .invoke_async(connection)
                .await?;
            let [next, found] = reader.tuple::<2>(page)?;
            for found in reader.texts(found)?.chunks(KEYS_AT_ONCE) {
                let mut change = call.prepare_invoke();
                for key in found {
                    change.key(key);
                }
                change.invoke_async::<()>(connection).await?;
            }
            cursor = reader.text(next)?;
            if cursor == "0" {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Scope, scope};

    #[test]
    fn a_script_says_what_it_changes() {
        assert_eq!(scope("-- 0001: begins\nreturn 1"), Scope::Schema);
        assert_eq!(scope("-- each: task:*\nreturn 1"), Scope::Each("task:*"));
    }
}
