//! Migrations of the layout, and the check at every start.

mod lock;
mod step;

use std::time::Duration;

use futures_util::future::try_join_all;
use redis::aio::ConnectionLike;

use crate::error::StoreError;
use crate::link::{RedisSettings, connect};
use crate::target::Connection;
use crate::{Keys, Store, keys, sabotage};

use lock::Lock;

/// Version of the layout this program needs.
pub const LAYOUT_VERSION: u32 = 1;

/// Each change of the layout, in order; the first is version 1.
const MIGRATIONS: [(&str, &str); LAYOUT_VERSION as usize] =
    [("0001_layout", include_str!("../migrations/0001_layout.lua"))];

/// What this program knows: each change of the layout, in order.
fn migrations() -> impl Iterator<Item = (u32, (&'static str, &'static str))> {
    let known = MIGRATIONS.into_iter().chain(sabotage::next_migrations());
    (1..).zip(known)
}

/// Version of the layout this program needs.
fn ours() -> u32 {
    migrations().map(|(number, _)| number).max().unwrap_or(0)
}

/// Why a layout cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Nothing there.
    #[error("no Taskweir layout under prefix {prefix:?}: run `taskweir migrate` first")]
    Absent {
        /// The prefix that was looked under.
        prefix: String,
    },
    /// Older than this program.
    #[error("the layout has version {found}, this program needs {needed}: run `taskweir migrate`")]
    Old {
        /// Version in Redis.
        found: u32,
        /// Version of this program.
        needed: u32,
    },
    /// Newer than this program.
    #[error("the layout has version {found}, this program knows {known}: upgrade it")]
    New {
        /// Version in Redis.
        found: u32,
        /// Version of this program.
        known: u32,
    },
    /// Fields that do not parse.
    #[error("the layout under prefix {prefix:?} is damaged: {detail}")]
    Damaged {
        /// The prefix.
        prefix: String,
        /// What is wrong.
        detail: String,
    },
    /// The server throws keys away when memory is full.
    #[error(
        "Redis has maxmemory-policy {policy}, which may throw tasks away: \
         run `redis-cli -u \"$REDIS_URL\" CONFIG SET maxmemory-policy noeviction` (or set it in redis.conf)"
    )]
    Evicts {
        /// The policy found.
        policy: String,
    },
    /// The memory that Redis uses is not told.
    #[error(
        "MEMORY_BUDGET needs to ask Redis for INFO, which this user may not: allow it (ACL SETUSER … +info), or leave \
         the budget out and set maxmemory"
    )]
    Blind,
    /// The layout was there, and is no more.
    #[error(
        "the layout is gone: somebody has emptied Redis (FLUSHALL), or this is another server. Tasks are neither taken \
         nor run; `taskweir migrate` makes a new, empty layout"
    )]
    Gone,
    /// The server cannot do what `DURABILITY` asks for.
    #[error("DURABILITY={wanted} needs {why}")]
    Durability {
        /// What was asked for.
        wanted: String,
        /// What it lacks.
        why: String,
    },
    /// A migration took so long that another one may have begun.
    #[error(
        "this migration took too long between two steps and lost its lock: run `taskweir migrate` again"
    )]
    Overtaken,
    /// The number of partitions is out of range.
    #[error("PARTITIONS must be from 1 to 256, not {0}")]
    Partitions(usize),
}

/// How a new layout is made.
#[derive(Debug, Clone, Copy)]
pub struct MigrateOptions {
    /// Number of partitions; read only when the layout is made.
    pub partitions: usize,
}

/// How often a running service looks whether its layout is there.
const LAYOUT_LOOK: Duration = Duration::from_secs(1);

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// Version before.
    pub from: u32,
    /// Version now.
    pub to: u32,
    /// Number of partitions of the layout, whatever was asked for.
    pub partitions: usize,
}

async fn version(connection: &mut Connection, prefix: &str) -> Result<Option<u32>, StoreError> {
    number(connection, prefix, "version").await
}

impl Store {
    /// Lets `work` run to its end. Where the layout goes meanwhile, `stop` tells it to end.
    ///
    /// # Errors
    /// The layout is gone; `work` has ended then, too.
    pub async fn while_layout_stands(
        &self,
        work: impl Future<Output = ()>,
        stop: impl FnOnce(),
    ) -> Result<(), StoreError> {
        tokio::pin!(work);
        tokio::select! {
            () = &mut work => Ok(()),
            lost = self.layout_lost() => {
                stop();
                work.await;
                Err(lost)
            }
        }
    }

    /// Completes when the layout is gone, with what to tell. While Redis is away, it is not.
    async fn layout_lost(&self) -> StoreError {
        loop {
            tokio::time::sleep(LAYOUT_LOOK).await;
            if let Err(error @ StoreError::Layout(_)) = self.require_layout().await {
                return error;
            }
        }
    }

    /// The version of the layout in Redis, where there is one still.
    ///
    /// # Errors
    /// Redis is away, or the layout is damaged or gone.
    pub async fn require_layout(&self) -> Result<u32, StoreError> {
        let version = self.layout_version().await?.ok_or(LayoutError::Gone)?;
        // One of several servers may have been emptied alone.
        let looks = self.partitions().into_iter().map(|partition| async move {
            let there: bool = redis::cmd("EXISTS")
                .arg(partition.keys().log())
                .query_async(&mut self.link.get())
                .await?;
            Ok::<_, StoreError>(there)
        });
        if try_join_all(looks).await?.contains(&false) {
            return Err(LayoutError::Gone.into());
        }
        Ok(version)
    }

    /// The version of the layout in Redis, which may be newer than [`LAYOUT_VERSION`]; `None` where there is none.
    ///
    /// # Errors
    /// Redis is away, or the layout is damaged.
    pub async fn layout_version(&self) -> Result<Option<u32>, StoreError> {
        number(&mut self.link.get(), &self.prefix, "version").await
    }
}

/// A number of the layout.
async fn number(
    connection: &mut (impl ConnectionLike + Send),
    prefix: &str,
    field: &str,
) -> Result<Option<u32>, StoreError> {
    let text: Option<String> = redis::cmd("HGET")
        .arg(keys::schema(prefix))
        .arg(field)
        .query_async(connection)
        .await?;
    text.map(|text| {
        text.parse().map_err(|_| {
            LayoutError::Damaged {
                prefix: prefix.to_owned(),
                detail: format!("{field} {text:?}"),
            }
            .into()
        })
    })
    .transpose()
}

/// Checks the layout and gives the suffix of each partition.
pub(crate) async fn check(
    connection: &mut Connection,
    prefix: &str,
) -> Result<Vec<String>, StoreError> {
    let prefix_owned = || prefix.to_owned();
    let ours = ours();
    match version(connection, prefix).await? {
        None => {
            return Err(LayoutError::Absent {
                prefix: prefix_owned(),
            }
            .into());
        }
        Some(found) if found < ours => {
            let needed = ours;
            return Err(LayoutError::Old { found, needed }.into());
        }
        Some(found) if found > ours => {
            // It has grown, and may still be fit for us: the migration says for whom.
            let oldest = number(connection, prefix, "oldest").await?;
            if oldest.is_none_or(|oldest| oldest > ours) {
                let known = ours;
                return Err(LayoutError::New { found, known }.into());
            }
            tracing::info!(
                layout = found,
                ours,
                "the layout is newer, and fit for this program"
            );
        }
        Some(_) => {}
    }
    let suffixes = suffixes_of(connection, prefix).await?;
    let suffixes: Vec<String> = suffixes
        .unwrap_or_default()
        .split_whitespace()
        .map(ToOwned::to_owned)
        .collect();
    if suffixes.is_empty() || suffixes.len() > 256 {
        return Err(LayoutError::Damaged {
            prefix: prefix_owned(),
            detail: format!("{} partitions", suffixes.len()),
        }
        .into());
    }
    Ok(suffixes)
}

/// The suffixes of the partitions, separated by spaces, where there is a layout.
async fn suffixes_of(
    connection: &mut Connection,
    prefix: &str,
) -> Result<Option<String>, StoreError> {
    let asked = redis::cmd("HGET")
        .arg(keys::schema(prefix))
        .arg("suffixes")
        .query_async(connection)
        .await?;
    Ok(asked)
}

/// Applies what is missing; does nothing where nothing is.
///
/// # Errors
/// Redis is away, or the layout is newer than this program and no longer fit for it.
pub async fn migrate(
    settings: &RedisSettings,
    options: MigrateOptions,
) -> Result<Migrated, StoreError> {
    if !(1..=256).contains(&options.partitions) {
        return Err(LayoutError::Partitions(options.partitions).into());
    }
    let mut connection = connect(settings).await?;
    let lock = Lock::take(&mut connection, &settings.prefix).await?;
    let migrated = apply(&mut connection, &lock, settings, options).await;
    let released = lock.release(&mut connection).await;
    // Why it failed says more than that the lock stays until it is forgotten.
    let migrated = migrated?;
    released?;
    Ok(migrated)
}

async fn apply(
    connection: &mut Connection,
    lock: &Lock,
    settings: &RedisSettings,
    options: MigrateOptions,
) -> Result<Migrated, StoreError> {
    let schema = keys::schema(&settings.prefix);
    let from = version(connection, &settings.prefix).await?.unwrap_or(0);
    let known = ours();
    if from > known {
        // A newer program was here: nothing to do, where the layout is still fit for us.
        let partitions = check(connection, &settings.prefix).await?.len();
        return Ok(Migrated {
            from,
            to: from,
            partitions,
        });
    }
    let suffixes = spread(&settings.prefix, options.partitions).join(" ");
    for (number, (name, script)) in migrations() {
        if number <= from {
            continue;
        }
        tracing::info!(migration = name, "migrating");
        // Once made, a layout keeps its partitions, whatever was asked for.
        let made = suffixes_of(connection, &settings.prefix).await?;
        let suffixes = made.unwrap_or_else(|| suffixes.clone());
        let layout = step::Layout {
            prefix: &settings.prefix,
            partitions: options.partitions,
            suffixes: &suffixes,
        };
        step::run(connection, lock, script, &layout).await?;
        redis::cmd("HSET")
            .arg(&schema)
            .arg("version")
            .arg(number)
            .query_async::<()>(connection)
            .await?;
    }
    let suffixes = check(connection, &settings.prefix).await?;
    let logs = Keys::of_layout(&settings.prefix, suffixes.iter().map(String::as_str));
    for log in logs.map(|keys| keys.log()) {
        make_log(connection, &log).await?;
    }
    Ok(Migrated {
        from,
        to: known,
        partitions: suffixes.len(),
    })
}

/// Makes an empty log where there is none: scripts append to one that is there, and begin none.
async fn make_log(connection: &mut Connection, log: &str) -> Result<(), StoreError> {
    let group = |verb: &str| {
        let mut cmd = redis::cmd("XGROUP");
        cmd.arg(verb).arg(log).arg("layout");
        cmd
    };
    let mut create = group("CREATE");
    create.arg("$").arg("MKSTREAM");
    let made = create.query_async::<()>(connection).await;
    if made.is_err_and(|error| error.code() != Some("BUSYGROUP")) {
        return Err(StoreError::reply("log", "it cannot be made"));
    }
    Ok(group("DESTROY").query_async(connection).await?)
}

/// Number of slots of a Redis Cluster.
const SLOTS: usize = 16_384;

/// A suffix per partition, so that the slots of their tags are spread evenly over a cluster: each
/// partition's slot is in its own share of the slots.
fn spread(prefix: &str, partitions: usize) -> Vec<String> {
    (0..partitions)
        .map(|index| {
            let share = SLOTS / partitions;
            (0_u32..)
                .map(|try_number| format!("{try_number:x}"))
                .find(|suffix| slot(&format!("p{index}-{suffix}")) / share == index)
                .unwrap_or_else(|| prefix.to_owned())
        })
        .collect()
}

/// Slot of a hash tag: CRC-16/XMODEM modulo 16384 (Redis Cluster specification, "Key distribution
/// model").
fn slot(tag: &str) -> usize {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    usize::from(crc) % SLOTS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{slot, spread};

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31C3);
        assert_eq!(slot("user1000"), 3_443);
    }

    #[test]
    fn every_file_is_a_migration_and_every_migration_a_file() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name())
            .filter_map(|name| Some(name.to_str()?.strip_suffix(".lua")?.to_owned()))
            .collect();
        files.sort();
        let known: Vec<&str> = super::MIGRATIONS.iter().map(|(name, _)| *name).collect();
        assert_eq!(files, known);
        for (number, name) in (1..).zip(known) {
            assert!(name.starts_with(&format!("{number:04}_")), "{name}");
        }
    }

    #[test]
    fn partitions_spread_over_three_masters() {
        for partitions in [3, 4, 16, 256] {
            let suffixes = spread("tw", partitions);
            let slots: Vec<usize> = suffixes
                .iter()
                .enumerate()
                .map(|(index, suffix)| slot(&format!("p{index}-{suffix}")))
                .collect();
            let masters: BTreeSet<usize> = slots.iter().map(|slot| slot * 3 / 16_384).collect();
            assert_eq!(masters.len(), 3, "{partitions}: {slots:?}");
            let keys = crate::keys::Keys::of_layout("tw", suffixes.iter().map(String::as_str));
            assert_eq!(keys.count(), partitions);
        }
    }
}
