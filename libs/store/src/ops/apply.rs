use taskweir_domain::Position;

use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Delta, Partition, StoreError};

/// What became of a step of the projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The views moved to the new checkpoint.
    Done,
    /// Nothing changed: the checkpoint is not the expected one, but this.
    Moved(Position),
}

impl Partition {
    /// How far the views have come.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn checkpoint(&self) -> Result<Position, StoreError> {
        let mut connection = self.link.get();
        let text: Option<String> = redis::cmd("GET")
            .arg(self.keys.checkpoint())
            .query_async(&mut connection)
            .await?;
        let reader = Reader("checkpoint");
        text.map_or(Ok(Position::ZERO), |text| {
            text.parse().map_err(|_| reader.error(format!("{text:?}")))
        })
    }

    /// Moves the views with their checkpoint, in one step.
    ///
    /// # Errors
    /// Redis is away. The same call again answers [`Applied::Moved`] to `next` if the first one
    /// had succeeded.
    pub async fn apply(
        &self,
        expected: Position,
        next: Position,
        delta: &Delta,
    ) -> Result<Applied, StoreError> {
        let keys = delta.keys();
        let reply = self
            .eval(Script::Apply, 2 + keys.len(), |cmd| {
                cmd.arg(self.keys.log()).arg(self.keys.checkpoint());
                for key in &keys {
                    cmd.arg(*key);
                }
                cmd.arg(expected.to_string()).arg(next.to_string());
                delta.write(cmd);
            })
            .await?;
        let reader = Reader("apply");
        let [word, checkpoint] = reader.tuple::<2>(reply)?;
        match reader.text(word)?.as_str() {
            "applied" => Ok(Applied::Done),
            "moved" => Ok(Applied::Moved(reader.position(checkpoint)?)),
            other => Err(reader.error(format!("unknown answer {other:?}"))),
        }
    }
}
