use std::sync::Arc;

use taskweir_domain::{Json, Position, TaskDetail, TaskId};

use crate::reply::Reader;
use crate::scripts::Script;
use crate::{BaseHead, Delta, Partition, StoreError};

/// A cut of the log, folded.
#[derive(Debug, Clone)]
pub struct Cut {
    /// Where the base stands.
    pub from: Position,
    /// Where it stands afterwards: its position is the last one cut.
    pub to: BaseHead,
    /// Tasks with events in the cut, as they are at its end.
    pub tasks: Vec<TaskDetail>,
}

/// What became of a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutOutcome {
    /// Done.
    Done,
    /// The base is elsewhere: another cut was faster, or the reply to this one was lost.
    Moved,
    /// Somebody reads the whole log; later.
    Held,
    /// The views have not come so far; later.
    Ahead,
}

impl Partition {
    /// Cuts the log up to a position: what lives on is kept in the base, with its payload beside it;
    /// what ended leaves records and views. All in one step, or nothing.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn cut(&self, cut: &Cut) -> Result<CutOutcome, StoreError> {
        let mut delta = Delta::new(Arc::clone(&self.keys));
        delta.base_head(&cut.to);
        let mut payloads: Vec<(TaskId, Json)> = Vec::new();
        let mut gone: Vec<TaskId> = Vec::new();
        for detail in &cut.tasks {
            if detail.task.status().is_final() {
                delta.forget(detail);
                delta.base_task(detail.id, None);
                gone.push(detail.id);
                continue;
            }
            let mut kept = detail.clone();
            match kept.data.take() {
                Some(data) => {
                    kept.data_stored = Some(super::stored(data.as_str()));
                    payloads.push((kept.id, data));
                }
                // A worker must be able to tell that there was none from that it is lost.
                None if kept.data_stored.is_none() => payloads.push((kept.id, Json::null())),
                None => {}
            }
            delta.base_task(kept.id, Some(&kept));
        }
        let views = delta.keys();
        let keys = 4 + views.len() + 2 * payloads.len() + 3 * gone.len();
        let next = Position {
            ms: cut.to.position.ms,
            seq: cut.to.position.seq + 1,
        };
        let reply = self
            .eval(Script::Cut, keys, |cmd| {
                cmd.arg(self.keys.log()).arg(self.keys.checkpoint());
                cmd.arg(self.keys.holds()).arg(self.keys.base()).arg(&views);
                for (id, _) in &payloads {
                    cmd.arg(self.keys.task(*id)).arg(self.keys.data(*id));
                }
                for id in &gone {
                    cmd.arg(self.keys.task(*id));
                    cmd.arg(self.keys.data(*id)).arg(self.keys.result(*id));
                }
                cmd.arg(cut.from.to_string())
                    .arg(cut.to.position.to_string());
                cmd.arg(next.to_string())
                    .arg(views.len())
                    .arg(payloads.len());
                for (_, data) in &payloads {
                    cmd.arg(data.as_str());
                }
                delta.write(cmd);
            })
            .await?;
        let reader = Reader("cut");
        let [word] = reader.tuple::<1>(reply)?;
        match reader.text(word)?.as_str() {
            "done" => Ok(CutOutcome::Done),
            "moved" => Ok(CutOutcome::Moved),
            "held" => Ok(CutOutcome::Held),
            "ahead" => Ok(CutOutcome::Ahead),
            other => Err(reader.error(format!("unknown answer {other:?}"))),
        }
    }
}
