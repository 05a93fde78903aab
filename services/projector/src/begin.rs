//! Where a fold of the log begins: at the views' checkpoint, or for fresh views at the base.

use std::collections::BTreeSet;
use std::sync::Arc;

use taskweir_domain::Position;
use taskweir_store::{Applied, BaseHead, Delta, Fold, Hold, Keys, Partition, StoreError};

/// Why views cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    /// Redis is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log between them and the base is gone.
    #[error("the views stand at {at}, before the base at {base}: run `taskweir rebuild`")]
    Behind {
        /// Where the views are.
        at: Position,
        /// Where the log begins.
        base: Position,
    },
    /// Someone else writes the same views.
    #[error("the views are being made by someone else")]
    Raced,
}

/// A fold and the views it goes on from.
pub(crate) struct Begun {
    pub(crate) fold: Fold,
    /// Where the views are.
    pub(crate) at: Position,
    /// View keys that were written to come here.
    pub(crate) written: BTreeSet<String>,
    /// The base there was.
    pub(crate) base: Position,
}

/// Where the views of a partition go on. Fresh ones are brought to the base first. For a rebuild, which
/// makes retention wait by `hold`, the fold knows every task of the base and forgets none.
pub(crate) async fn begin(
    partition: &Partition,
    hold: Option<&mut Hold>,
) -> Result<Begun, BeginError> {
    let (views, base) = (partition.standpoint().await?, partition.base_head().await?);
    let mut begun = Begun {
        fold: Fold::resume(views.last, views.totals),
        at: views.checkpoint,
        written: BTreeSet::new(),
        base: base.position,
    };
    if views.checkpoint < base.position {
        if views.checkpoint != Position::ZERO {
            return Err(BeginError::Behind {
                at: views.checkpoint,
                base: base.position,
            });
        }
        begun.fold = Fold::resume(base.last, base.totals.clone());
    }
    if hold.is_some() {
        begun.fold = begun.fold.boundless();
    }
    if begun.at < base.position {
        seed(partition, &base, &mut begun, hold).await?;
    }
    Ok(begun)
}

/// Writes the base into empty views. Its tasks first, which may be repeated; its counts with the
/// checkpoint, which may not.
async fn seed(
    partition: &Partition,
    base: &BaseHead,
    begun: &mut Begun,
    mut hold: Option<&mut Hold>,
) -> Result<(), BeginError> {
    let keys = Arc::new(partition.keys().clone());
    let mut cursor = Some("0".to_owned());
    while let Some(from) = cursor {
        if let Some(hold) = &mut hold {
            hold.keep().await?;
        }
        let (tasks, next) = partition.base_page(&from).await?;
        cursor = next;
        let delta = begun.fold.seed(&keys, &tasks, false);
        write(partition, Position::ZERO, delta, &mut begun.written).await?;
    }
    let head = begun.fold.seed(&keys, &[], true);
    write(partition, base.position, head, &mut begun.written).await?;
    begun.at = base.position;
    Ok(())
}

async fn write(
    partition: &Partition,
    next: Position,
    delta: Delta,
    written: &mut BTreeSet<String>,
) -> Result<(), BeginError> {
    written.extend(delta.keys().into_iter().map(ToOwned::to_owned));
    match partition.apply(Position::ZERO, next, &delta).await? {
        Applied::Done => Ok(()),
        // The answer to the first try was lost.
        Applied::Moved(at) if at == next => Ok(()),
        Applied::Moved(_) => Err(BeginError::Raced),
    }
}

/// The base as it would stand in views, and a fold that knows all of it.
pub(crate) async fn from_base(
    partition: &Partition,
    keys: &Arc<Keys>,
    base: &BaseHead,
    hold: &mut Hold,
) -> Result<(Fold, Delta, Vec<taskweir_domain::TaskDetail>), StoreError> {
    let mut fold = Fold::resume(base.last, base.totals.clone()).boundless();
    let mut delta = Delta::new(Arc::clone(keys));
    let mut all = Vec::new();
    if base.position > Position::ZERO {
        delta.merge(fold.seed(keys, &[], true));
        let mut cursor = Some("0".to_owned());
        while let Some(from) = cursor {
            hold.keep().await?;
            let (tasks, next) = partition.base_page(&from).await?;
            cursor = next;
            delta.merge(fold.seed(keys, &tasks, false));
            all.extend(tasks);
        }
    }
    Ok((fold, delta, all))
}
