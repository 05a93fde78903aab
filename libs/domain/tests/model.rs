//! A model of the protocol, every path of it up to a number of steps: clients that submit, workers that receive,
//! start, renew, settle, give back and die, a janitor that looks first and acts later, people, a consumer group that
//! is lost and made anew, and a failover to a replica that has lost the end of the log.
//! Decisions and states are those of the library; what the scripts add (entries, leases, fences, repeats) is written
//! down here once more. Time is not in it: a lease that was not renewed may pass at any step, so every real timing
//! is among what is searched. People act on what a view showed them, which may be long past: so whatever they may
//! ask for, they ask at any step, and the state decides.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::{HashSet, VecDeque};

use taskweir_domain::{
    Actor, AttemptError, Command, ErrorKind, Failure, Fence, Holder, LossSeen, Outcome, Phase,
    Position, Recorded, Rejection, Task, TaskId, TaskSpec, decide, evolve,
};

const WORKERS: u8 = 2;
/// Times that a person takes a task back from the dead letters.
const MOST_DLQ_RETRIES: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// Not submitted, or its submit was lost by the failover.
    Absent,
    Pending,
    Processing {
        cancelling: bool,
    },
    Retrying,
    Completed,
    Failed,
    Cancelled,
    Removed,
}

/// The entry of a task in the ready stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Entry {
    Waiting,
    /// A worker has received it, and has said nothing of it for a lease or not.
    Received {
        worker: u8,
        idle: bool,
    },
}

/// What Redis keeps of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Record {
    place: Place,
    attempt: u32,
    failures: u32,
    losses: u32,
    /// The execution that the latest start began: what the holder stands for.
    execution: u8,
    entry: Option<Entry>,
    dlq_retries: u8,
}

/// A task that has just been submitted.
const SUBMITTED: Record = Record {
    place: Place::Pending,
    attempt: 0,
    failures: 0,
    losses: 0,
    execution: 0,
    entry: Some(Entry::Waiting),
    dlq_retries: 0,
};

/// An execution as its worker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Hand {
    worker: u8,
    task: usize,
    attempt: u32,
    execution: u8,
}

/// What the janitor saw of a task whose lease had passed; it acts later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Look {
    task: usize,
    record: Record,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    tasks: Vec<Record>,
    hands: Vec<Hand>,
    look: Option<Look>,
    /// Whether the consumer group was lost and made anew; once.
    regrouped: bool,
    /// What the replica has; it takes over at most once.
    replica: Option<Vec<Record>>,
    failed_over: bool,
}

struct Model {
    sample: Task,
    /// Holders carry a nonce: two executions are never alike.
    nonces: bool,
    /// The janitor takes an entry only if it is still idle.
    swaps: bool,
}

/// A broken promise.
type Broken = String;

impl Model {
    fn new() -> Self {
        let mut spec = TaskSpec::new("default".parse().unwrap(), "work".parse().unwrap());
        spec.retry.max_retries = 1;
        spec.max_deliveries = 1;
        let submitted = decide(None, &Command::Submit(Box::new(spec)), 0).unwrap();
        let recorded = Recorded {
            position: Position { ms: 1, seq: 0 },
            id: TaskId::new(1, taskweir_domain::PartitionIndex(0), 1),
            version: 1,
            previous: None,
            event: submitted[0].clone(),
        };
        Self {
            sample: evolve(None, &recorded).unwrap(),
            nonces: true,
            swaps: true,
        }
    }

    fn holder(&self, execution: u8) -> Holder {
        let nonce = if self.nonces { execution } else { 0 };
        Holder::new("w", &nonce.to_string())
    }

    fn fence(&self, attempt: u32, execution: u8) -> Fence {
        Fence {
            attempt,
            holder: self.holder(execution),
        }
    }

    fn task(&self, record: &Record) -> Task {
        let mut task = self.sample.clone();
        task.attempt = record.attempt;
        task.failures = record.failures;
        task.losses = record.losses;
        task.phase = match record.place {
            Place::Absent | Place::Pending => Phase::Pending,
            Place::Processing { cancelling } => Phase::Processing {
                holder: self.holder(record.execution),
                lease_ms: 1_000,
                cancelling,
            },
            Place::Retrying => Phase::Retrying { due_ms: 0 },
            Place::Completed => Phase::Completed,
            Place::Failed => Phase::Failed,
            Place::Cancelled => Phase::Cancelled,
            Place::Removed => Phase::Removed,
        };
        task
    }

    /// Decides and applies what follows; the entry is moved as the scripts do.
    fn apply(
        &self,
        record: &Record,
        command: &Command,
    ) -> Result<Result<Record, Rejection>, Broken> {
        let mut task = self.task(record);
        let events = match decide(Some(&task), command, u64::MAX / 2) {
            Ok(events) => events,
            Err(rejection) => return Ok(Err(rejection)),
        };
        for event in events {
            let recorded = Recorded {
                position: Position {
                    ms: task.last.ms + 1,
                    seq: 0,
                },
                id: TaskId::new(1, taskweir_domain::PartitionIndex(0), 1),
                version: task.version + 1,
                previous: Some(task.last),
                event,
            };
            task =
                evolve(Some(task), &recorded).map_err(|error| format!("{command:?}: {error}"))?;
        }
        let place = match &task.phase {
            Phase::Pending => Place::Pending,
            Phase::Processing { cancelling, .. } => Place::Processing {
                cancelling: *cancelling,
            },
            Phase::Retrying { .. } => Place::Retrying,
            Phase::Completed => Place::Completed,
            Phase::Failed => Place::Failed,
            Phase::Cancelled => Place::Cancelled,
            Phase::Removed => Place::Removed,
            other => return Err(format!("{command:?} led to {other:?}")),
        };
        let entry = match place {
            // A new entry, unless it is the one at hand.
            Place::Pending => Some(Entry::Waiting),
            Place::Processing { .. } => record.entry,
            _ => None,
        };
        Ok(Ok(Record {
            place,
            attempt: task.attempt,
            failures: task.failures,
            losses: task.losses,
            entry,
            ..*record
        }))
    }

    /// Every world that may come next, or the promise that is broken on the way.
    fn next(&self, world: &World) -> Result<Vec<World>, Broken> {
        let mut worlds = Vec::new();
        for index in 0..world.tasks.len() {
            self.by_redis(world, index, &mut worlds)?;
            Self::leases(world, index, &mut worlds);
        }
        for hand in 0..world.hands.len() {
            self.by_hand(world, hand, &mut worlds)?;
        }
        for worker in 0..WORKERS {
            // It dies; Redis does not notice.
            let mut dead = world.clone();
            dead.hands.retain(|hand| hand.worker != worker);
            worlds.push(dead);
        }
        if let Some(look) = world.look {
            worlds.push(self.reclaim(world, look)?);
        }
        if !world.regrouped {
            // The new group begins at the stream's first entry, and knows of no worker.
            let mut anew = world.clone();
            anew.regrouped = true;
            for record in &mut anew.tasks {
                record.entry = record.entry.map(|_| Entry::Waiting);
            }
            worlds.push(anew);
        }
        if !world.failed_over {
            let mut behind = world.clone();
            behind.replica = Some(world.tasks.clone());
            worlds.push(behind);
            if let Some(replica) = &world.replica {
                let mut over = world.clone();
                over.tasks.clone_from(replica);
                (over.replica, over.failed_over) = (None, true);
                worlds.push(over);
            }
        }
        for world in &mut worlds {
            world.hands.sort_unstable();
            self.check(world)?;
        }
        Ok(worlds)
    }

    /// A lease passes: always possible, for clocks promise nothing. The janitor sees that it has.
    fn leases(world: &World, index: usize, worlds: &mut Vec<World>) {
        let record = world.tasks[index];
        let Some(Entry::Received { worker, idle }) = record.entry else {
            return;
        };
        let mut next = world.clone();
        if idle {
            next.look = Some(Look {
                task: index,
                record,
            });
        } else {
            next.tasks[index].entry = Some(Entry::Received { worker, idle: true });
        }
        worlds.push(next);
    }

    /// Deliveries, starts, and what people and the scheduler do.
    fn by_redis(&self, world: &World, index: usize, worlds: &mut Vec<World>) -> Result<(), Broken> {
        let record = &world.tasks[index];
        let mut with = |record: Record, hand: Option<Hand>| {
            let mut next = world.clone();
            next.tasks[index] = record;
            next.hands.extend(hand);
            worlds.push(next);
        };
        if record.place == Place::Absent {
            // Under the id it had, should it have been lost: nothing told later may take the one for the other.
            let execution = record.execution;
            with(
                Record {
                    execution,
                    ..SUBMITTED
                },
                None,
            );
            return Ok(());
        }
        for worker in 0..WORKERS {
            if record.entry == Some(Entry::Waiting) {
                let received = Entry::Received {
                    worker,
                    idle: false,
                };
                with(
                    Record {
                        entry: Some(received),
                        ..*record
                    },
                    None,
                );
            }
            if matches!(record.entry, Some(Entry::Received { worker: by, .. }) if by == worker) {
                let execution = self.unused(world);
                let command = Command::Start {
                    holder: self.holder(execution),
                    lease_ms: 1_000,
                };
                if let Ok(started) = self.apply(record, &command)? {
                    let hand = Hand {
                        worker,
                        task: index,
                        attempt: started.attempt,
                        execution,
                    };
                    with(
                        Record {
                            execution,
                            ..started
                        },
                        Some(hand),
                    );
                    // The same, and the reply is lost together with the worker.
                    with(
                        Record {
                            execution,
                            ..started
                        },
                        None,
                    );
                }
            }
        }
        let commands = [
            Command::Promote,
            Command::Cancel(Actor::anonymous().into()),
            Command::DlqRetry(Actor::anonymous().into()),
            Command::DlqRemove(Actor::anonymous().into()),
        ];
        for command in commands {
            let again = matches!(command, Command::DlqRetry(_));
            if again && record.dlq_retries == MOST_DLQ_RETRIES {
                continue;
            }
            if let Ok(mut moved) = self.apply(record, &command)? {
                moved.dlq_retries += u8::from(again);
                with(moved, None);
            }
        }
        Ok(())
    }

    /// The janitor takes what it saw: the script compares what the decision came from, then the entry's silence.
    fn reclaim(&self, world: &World, look: Look) -> Result<World, Broken> {
        let Look { task, record: seen } = look;
        let now = &world.tasks[task];
        let mut next = world.clone();
        next.look = None;
        let same = (now.place, now.attempt, now.execution, now.losses)
            == (seen.place, seen.attempt, seen.execution, seen.losses);
        let Some(Entry::Received { idle, .. }) = now.entry.filter(|_| same) else {
            return Ok(next);
        };
        if self.swaps && !idle {
            return Ok(next);
        }
        let loss = match seen.place {
            Place::Processing { .. } => LossSeen::Started(self.fence(seen.attempt, seen.execution)),
            _ => LossSeen::NotStarted,
        };
        if let Ok(lost) = self.apply(now, &Command::Lose(loss))? {
            if !idle {
                return Err(format!("{now:?} was taken although its lease was renewed"));
            }
            next.tasks[task] = lost;
        }
        Ok(next)
    }

    /// A worker renews the lease of an execution, or hears that it has lost it and lets go.
    fn renew(&self, world: &World, hand: usize) -> World {
        let Hand {
            worker,
            task,
            attempt,
            execution,
        } = world.hands[hand];
        let mut next = world.clone();
        let record = &mut next.tasks[task];
        let fence = self.fence(attempt, execution);
        let known = record.place != Place::Absent;
        if known && self.task(record).is_held_by(&fence) {
            // Whoever received the entry since, and whether or not the group still knew of it.
            record.entry = Some(Entry::Received {
                worker,
                idle: false,
            });
        } else {
            next.hands.remove(hand);
        }
        next
    }

    /// A worker settles an execution or gives it back; its call may be made twice.
    fn by_hand(&self, world: &World, hand: usize, worlds: &mut Vec<World>) -> Result<(), Broken> {
        let Hand {
            task,
            attempt,
            execution,
            ..
        } = world.hands[hand];
        let record = &world.tasks[task];
        let fence = self.fence(attempt, execution);
        if record.place == Place::Absent {
            // Nobody knows the task: what its worker says is answered with that, and it lets go.
            let mut next = world.clone();
            next.hands.remove(hand);
            worlds.push(next);
            return Ok(());
        }
        worlds.push(self.renew(world, hand));
        let failure = Failure {
            error: AttemptError::new(ErrorKind::Error, None, "no"),
            unit: 0.5,
            retry_in_ms: Some(0),
        };
        let commands = [
            Command::Complete {
                fence: fence.clone(),
                result: None,
                duration_ms: 1,
            },
            Command::Fail {
                fence: fence.clone(),
                failure,
            },
            Command::Release(fence.clone()),
        ];
        for command in commands {
            let mut next = world.clone();
            match self.apply(record, &command)? {
                Ok(settled) => {
                    if record.execution != execution {
                        return Err(format!(
                            "attempt {attempt} of execution {} was settled by execution {execution}",
                            record.execution
                        ));
                    }
                    next.tasks[task] = settled;
                    // The reply is lost: it will be said again.
                    worlds.push(next.clone());
                }
                Err(Rejection::Fenced { .. }) if !matches!(command, Command::Release(_)) => {
                    // A script tells a repeat from a late one by what the record remembers.
                    if record.attempt != attempt || record.execution != execution {
                        let late = Command::RefuseLate {
                            fence: fence.clone(),
                            outcome: Outcome::Completed,
                        };
                        next.tasks[task] = match self.apply(record, &late)? {
                            // Told on, and nothing else.
                            Ok(same) => Record {
                                entry: record.entry,
                                ..same
                            },
                            Err(rejection) => return Err(format!("late, and {rejection}")),
                        };
                        if next.tasks[task] != *record {
                            return Err("a late completion changed its task".to_owned());
                        }
                    }
                }
                Err(_) => {}
            }
            next.hands.remove(hand);
            worlds.push(next);
        }
        Ok(())
    }

    /// An execution that nobody knows of.
    fn unused(&self, world: &World) -> u8 {
        let replica = world.replica.iter().flatten();
        let known: HashSet<u8> = (world.tasks.iter().chain(replica))
            .map(|record| record.execution)
            .chain(world.hands.iter().map(|hand| hand.execution))
            .collect();
        (1..).find(|number| !known.contains(number)).unwrap()
    }

    /// What holds in every world.
    fn check(&self, world: &World) -> Result<(), Broken> {
        for record in &world.tasks {
            let waits = matches!(record.place, Place::Pending | Place::Processing { .. });
            if record.entry.is_some() != waits {
                return Err(format!("{record:?} stands in the wrong queue"));
            }
            // One retry and one redelivery; the end of a task that is being cancelled counts once more.
            let most = if record.place == Place::Cancelled {
                2
            } else {
                1
            };
            if record.failures > most || record.losses > most {
                return Err(format!("{record:?} goes on for ever"));
            }
        }
        Ok(())
    }

    /// Searches every world up to so many steps away; gives how many there are.
    fn search(&self, tasks: usize, depth: usize) -> Result<usize, Broken> {
        let absent = Record {
            place: Place::Absent,
            entry: None,
            ..SUBMITTED
        };
        let begin = World {
            tasks: vec![absent; tasks],
            hands: Vec::new(),
            look: None,
            regrouped: false,
            replica: None,
            failed_over: false,
        };
        let mut seen = HashSet::from([begin.clone()]);
        let mut open = VecDeque::from([(begin, 0)]);
        while let Some((world, steps)) = open.pop_front() {
            if steps == depth {
                continue;
            }
            for next in self.next(&world)? {
                if next.hands.len() <= 3 && !seen.contains(&next) {
                    seen.insert(next.clone());
                    open.push_back((next, steps + 1));
                }
            }
        }
        Ok(seen.len())
    }
}

#[test]
fn no_path_of_one_task_breaks_a_promise() {
    let worlds = Model::new().search(1, 14).unwrap();
    println!("{worlds} worlds");
    assert!(worlds > 400_000, "{worlds}");
}

#[test]
fn no_path_of_two_tasks_breaks_a_promise() {
    let worlds = Model::new().search(2, 10).unwrap();
    println!("{worlds} worlds");
    assert!(worlds > 400_000, "{worlds}");
}

/// The same attempt number is issued twice after a failover: without a nonce the model finds it out.
#[test]
fn without_a_nonce_a_lost_execution_settles_the_attempt_of_another() {
    let model = Model {
        nonces: false,
        ..Model::new()
    };
    let broken = model.search(1, 12).unwrap_err();
    assert!(broken.contains("was settled by"), "{broken}");
}

#[test]
fn without_compare_and_swap_the_janitor_takes_a_task_whose_lease_was_renewed() {
    let model = Model {
        swaps: false,
        ..Model::new()
    };
    let broken = model.search(1, 8).unwrap_err();
    assert!(broken.contains("was renewed"), "{broken}");
}
