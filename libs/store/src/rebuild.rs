//! Fresh views beside the live ones, and the swap.

use std::collections::BTreeSet;
use std::sync::Arc;

use taskweir_domain::Position;

use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError, ViewContent};

/// Keys unlinked by one command.
const UNLINKED_AT_ONCE: usize = 500;

/// What a swap did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swapped {
    /// The rebuilt views are the live ones now.
    Done,
    /// The live views are somewhere else than expected; nothing changed.
    Moved,
    /// The rebuilt views are not where this caller left them; nothing changed.
    Gone,
    /// Retention has cut the log since the rebuilt views were begun; nothing changed.
    Cut,
}

impl Partition {
    /// The same partition, with views of its own beside the live ones: for a rebuild.
    #[must_use]
    pub fn beside(&self) -> Self {
        let mut beside = self.clone();
        beside.keys = Arc::new(self.keys.beside());
        beside
    }

    /// Forgets the views of this partition and how far they were.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn clear_views(&self) -> Result<(), StoreError> {
        let mut keys = self.view_keys().await?;
        keys.insert(self.keys.checkpoint());
        let mut connection = self.link.get();
        let keys: Vec<String> = keys.into_iter().collect();
        for keys in keys.chunks(UNLINKED_AT_ONCE) {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(keys).query_async::<()>(&mut connection).await?;
        }
        Ok(())
    }

    /// Puts the views of `rebuilt` in the place of this partition's own, if both stand where the
    /// caller saw them. One step, whatever their size. `live_keys` and `rebuilt_keys` are the view
    /// keys of each that the caller knows: listing them here would take longer than busy views stand
    /// still.
    ///
    /// # Errors
    /// Redis is away. The repeat of a swap that was done says [`Swapped::Gone`].
    pub async fn swap_views(
        &self,
        live_keys: &BTreeSet<String>,
        live_at: Position,
        rebuilt: &Self,
        rebuilt_keys: &BTreeSet<String>,
        rebuilt_at: Position,
        base: Position,
    ) -> Result<Swapped, StoreError> {
        let live_names = live_keys.iter().map(|key| self.keys.view_name(key));
        let rebuilt_names = rebuilt_keys.iter().map(|key| rebuilt.keys.view_name(key));
        let names: BTreeSet<&str> = live_names.chain(rebuilt_names).collect();
        let reply = self
            .eval(Script::SwapViews, 3 + 2 * names.len(), |cmd| {
                cmd.arg(self.keys.checkpoint())
                    .arg(rebuilt.keys.checkpoint())
                    .arg(self.keys.base());
                for name in &names {
                    cmd.arg(self.keys.view(name)).arg(rebuilt.keys.view(name));
                }
                cmd.arg(live_at.to_string())
                    .arg(rebuilt_at.to_string())
                    .arg(base.to_string());
            })
            .await?;
        let reader = Reader("swap_views");
        let [word, _] = reader.tuple::<2>(reply)?;
        match reader.text(word)?.as_str() {
            "swapped" => Ok(Swapped::Done),
            "moved" => Ok(Swapped::Moved),
            "gone" => Ok(Swapped::Gone),
            "cut" => Ok(Swapped::Cut),
            other => Err(reader.error(format!("{other:?} is no outcome"))),
        }
    }

    /// Content of this partition's views, as it would stand in those of `other`.
    #[must_use]
    pub fn content_as_of(&self, content: ViewContent, other: &Self) -> ViewContent {
        content
            .into_iter()
            .map(|(key, fields)| (other.keys.view(self.keys.view_name(&key)), fields))
            .collect()
    }
}
