//! Random traffic on a real Redis: whatever happens, log, records and queues agree.

use std::collections::BTreeMap;

use taskweir_domain::{
    Actor, Command, ErrorKind, Fence, Json, LossSeen, Phase, Status, TaskId, decide,
};
use taskweir_store::{Claimed, DlqAction, FinishOutcome, Loss, Releasing};

use crate::bench::{Bench, Running, complete, fail};

/// A small generator with a fixed seed, so that a failure repeats.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

pub struct Traffic {
    pub bench: Bench,
    pub dice: Dice,
    pub ids: Vec<TaskId>,
    claimed: Vec<Claimed>,
    running: Vec<Running>,
    completed: BTreeMap<TaskId, u32>,
}

impl Traffic {
    pub async fn new(seed: u64) -> Self {
        Self {
            bench: Bench::new().await,
            dice: Dice(seed),
            ids: Vec::new(),
            claimed: Vec::new(),
            running: Vec::new(),
            completed: BTreeMap::new(),
        }
    }

    pub async fn step(&mut self) {
        match self.dice.roll(12) {
            0..=2 => {
                let later = self.dice.roll(4) == 0;
                let (labelled, shape) = (self.dice.roll(3), self.dice.roll(4));
                let id = self.bench.submit_with(|spec| {
                    spec.retry.max_retries = 2;
                    spec.max_deliveries = 2;
                    spec.run_at_ms = later.then_some(1);
                    if labelled == 0 {
                        spec.labels.insert("tenant".to_owned(), "a".to_owned());
                    }
                    spec.data = match shape {
                        0 => Json::null(),
                        1 => Json::of(&"x".repeat(2_000)).unwrap(),
                        _ => Json::of(&shape).unwrap(),
                    };
                });
                let id = id.await;
                self.ids.push(id);
            }
            3 | 4 => self.claimed.extend(self.bench.claim("w", 2).await),
            5 | 6 => self.start().await,
            7 | 8 => self.settle().await,
            9 => {
                let due = self.bench.partition.due(10).await.unwrap().0;
                self.bench.partition.promote(&due).await.unwrap();
                self.bench.partition.promote(&due).await.unwrap();
            }
            10 => self.lose().await,
            _ => self.meddle().await,
        }
    }

    async fn start(&mut self) {
        if self.claimed.is_empty() {
            return;
        }
        let index = self.dice.roll(self.claimed.len());
        let claimed = self.claimed.swap_remove(index);
        let holder = taskweir_domain::Holder::new("w", &taskweir_store::entropy::nonce());
        let outcome = self.bench.start_with_lease(&claimed, &holder, 0).await;
        if let taskweir_store::StartOutcome::Started(begun) = outcome {
            self.running.push(Running {
                id: claimed.work.unwrap().id,
                stream: claimed.stream,
                entry: claimed.entry,
                unique: begun.unique,
                fence: Fence {
                    attempt: begun.attempt,
                    holder,
                },
            });
        }
    }

    async fn settle(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let index = self.dice.roll(self.running.len());
        // Sometimes the worker comes back later: a zombie.
        let running = if self.dice.roll(4) == 0 {
            self.running[index].clone()
        } else {
            self.running.swap_remove(index)
        };
        let record = self.bench.record(running.id).await;
        let task = record.map(|record| record.task);
        if !task
            .as_ref()
            .is_some_and(|task| task.is_held_by(&running.fence))
        {
            // What a worker that does not know of its loss would send.
            let event = taskweir_domain::Completed {
                attempt: running.fence.attempt,
                holder: running.fence.holder.clone(),
                result: None,
                result_stored: None,
                duration_ms: 1,
                trace: None,
            };
            let finish = taskweir_store::Finish {
                id: running.id,
                stream: running.stream,
                fence: running.fence.clone(),
                unique: running.unique.clone(),
                event: event.into(),
            };
            let outcome = self.bench.finish(&finish).await;
            let expected: &[FinishOutcome] = match task {
                Some(_) => &[FinishOutcome::Late, FinishOutcome::Repeated],
                // Ended, and gone by retention.
                None => &[FinishOutcome::Gone],
            };
            assert!(expected.contains(&outcome), "{outcome:?}");
            return;
        }
        let Some(task) = task else { return };
        let command = match self.dice.roll(5) {
            0 => fail(&running, ErrorKind::Error),
            1 => fail(&running, ErrorKind::Fatal),
            2 => {
                let command = Command::Release(running.fence.clone());
                let releasing = Releasing {
                    id: running.id,
                    stream: running.stream,
                    fence: running.fence.clone(),
                    unique: running.unique.clone(),
                    cancelling: task.cancelling(),
                    event: decide(Some(&task), &command, 0).unwrap().remove(0),
                };
                self.bench
                    .partition
                    .release(&self.bench.streams, &[releasing])
                    .await
                    .unwrap();
                return;
            }
            _ => complete(&running),
        };
        let finish = self.bench.finishing(&running, &command).await;
        assert_eq!(self.bench.finish(&finish).await, FinishOutcome::Done);
        assert_eq!(self.bench.finish(&finish).await, FinishOutcome::Repeated);
        if matches!(command, Command::Complete { .. }) {
            *self.completed.entry(running.id).or_default() += 1;
        }
    }

    async fn lose(&mut self) {
        let bench = &self.bench;
        for silent in bench.partition.silent(&bench.streams, 0).await.unwrap() {
            let Some(id) = silent.id else { continue };
            let record = bench.record(id).await.unwrap();
            let decided = (record.work == silent.entry).then(|| {
                let seen = match &record.task.phase {
                    Phase::Processing { holder, .. } => LossSeen::Started(Fence {
                        attempt: record.task.attempt,
                        holder: holder.clone(),
                    }),
                    _ => LossSeen::NotStarted,
                };
                let event = decide(Some(&record.task), &Command::Lose(seen), 0)
                    .unwrap()
                    .remove(0);
                (record, event)
            });
            let loss = Loss {
                id,
                stream: silent.stream,
                entry: silent.entry,
                decided,
            };
            let batch = [loss];
            bench
                .partition
                .reclaim(&bench.streams, "janitor", 0, &batch)
                .await
                .unwrap();
            bench
                .partition
                .reclaim(&bench.streams, "janitor", 0, &batch)
                .await
                .unwrap();
        }
    }

    async fn meddle(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        let id = self.ids[self.dice.roll(self.ids.len())];
        let Some(record) = self.bench.record(id).await else {
            return;
        };
        let task = record.task;
        if task.status() == Status::Failed {
            let action = [DlqAction {
                id,
                queue: task.queue.clone(),
                priority: task.priority,
                unique: None,
                nonce: taskweir_store::entropy::nonce(),
                ask: Actor::anonymous().into(),
                bulk: None,
            }];
            if self.dice.roll(3) == 0 {
                self.bench.partition.dlq_remove(&action).await.unwrap();
            } else {
                self.bench.partition.dlq_retry(&action).await.unwrap();
            }
        } else if self.dice.roll(4) == 0 && !task.status().is_final() && !task.cancelling() {
            let nonce = taskweir_store::entropy::nonce();
            let request = self.bench.cancellation(id, &nonce).await;
            self.bench.partition.cancel(&[request]).await.unwrap();
        }
    }
}

async fn traffic(seed: u64) {
    let mut traffic = Traffic::new(seed).await;
    for _ in 0..400 {
        traffic.step().await;
    }
    for id in &traffic.ids {
        let detail = traffic.bench.check(*id).await;
        let completed = traffic.completed.get(id).copied().unwrap_or(0);
        assert_eq!(
            completed,
            u32::from(detail.task.status() == Status::Completed),
            "seed {seed}, {id}"
        );
    }
    assert!(traffic.ids.len() > 50);
}

#[tokio::test]
async fn random_traffic_keeps_log_record_and_queues_equal() {
    for seed in 1..=4 {
        traffic(seed).await;
    }
}
