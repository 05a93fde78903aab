use taskweir_domain::{Event, Fence, Progressed, TaskId};

use crate::reply::Reader;
use crate::scripts::Script;
use crate::{Partition, StoreError};

/// How far a running attempt is.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressReport {
    /// The task.
    pub id: TaskId,
    /// The right to speak for it.
    pub fence: Fence,
    /// 0 to 100.
    pub percent: f64,
    /// A word from the handler.
    pub message: Option<String>,
}

impl Partition {
    /// Notes progress; tells for each whether the attempt still holds its task.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn progress(&self, batch: &[ProgressReport]) -> Result<Vec<bool>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let reply = self
            .eval(Script::Progress, 1 + batch.len(), |cmd| {
                cmd.arg(self.keys.log());
                for report in batch {
                    cmd.arg(self.keys.task(report.id));
                }
                for report in batch {
                    let event = Event::from(Progressed {
                        attempt: report.fence.attempt,
                        percent: report.percent,
                        message: report.message.clone(),
                    });
                    cmd.arg(report.id.to_string()).arg(report.fence.attempt);
                    cmd.arg(report.fence.holder.as_str()).arg(event.body());
                }
            })
            .await?;
        Reader("progress").words(reply, batch.len(), |word| match word {
            "done" => Some(true),
            "lost" => Some(false),
            _ => None,
        })
    }
}
