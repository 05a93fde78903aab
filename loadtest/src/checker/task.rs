//! A task as the checker understands it: the table of moves, written down a second time.

use std::collections::BTreeSet;

use serde_json::Value;

use super::RawEvent;

/// Why an event cannot follow: the rule, and what was seen.
pub(crate) type Broken = (&'static str, String);

const PATH: &str = "events form a lawful path";
const LINKS: &str = "versions and links are gap-free";
const ATTEMPTS: &str = "attempts grow by one";
const FENCE: &str = "only the holder settles";
const LIMITS: &str = "retries and losses are bounded";
const TIMES: &str = "nothing runs before its time";
const ONCE: &str = "a task completes at most once";
const DATA: &str = "data reaches its handler, and results are its";
const REFUSED: &str = "a late completion is refused once";

/// A task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Task {
    pub(crate) status: &'static str,
    pub(crate) version: u64,
    pub(crate) last: String,
    pub(crate) attempt: u64,
    pub(crate) holder: Option<String>,
    pub(crate) cancelling: bool,
    pub(crate) completions: u32,
    pub(crate) queue: String,
    pub(crate) kind: String,
    pub(crate) priority: String,
    pub(crate) client_key: Option<String>,
    max_retries: u64,
    max_deliveries: u64,
    pub(crate) failures: u64,
    pub(crate) losses: u64,
    due_ms: u64,
    released_unknown: u32,
    /// The data, and what stands for longer ones.
    data: [Value; 2],
    /// Attempts and holders whose late completion was refused.
    refused: BTreeSet<(u64, String)>,
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_default().to_owned()
}

fn number(body: &Value, name: &str) -> u64 {
    body[name].as_u64().unwrap_or(0)
}

impl Task {
    /// The task after one more event.
    pub(crate) fn after(before: Option<Self>, event: &RawEvent) -> Result<Self, Broken> {
        let Some(task) = before else {
            return Self::first(event);
        };
        if event.version != task.version + 1 || event.previous != task.last {
            let detail = format!(
                "version {} after {}, back to {:?} where {} was last",
                event.version, task.version, event.previous, task.last
            );
            return Err((LINKS, detail));
        }
        let mut next = task.clone();
        next.version = event.version;
        next.last = event.position.to_string();
        next.step(&task, event)?;
        Ok(next)
    }

    fn first(event: &RawEvent) -> Result<Self, Broken> {
        let body = &event.body;
        if event.kind != "Submitted" || event.version != 1 || !event.previous.is_empty() {
            return Err((
                PATH,
                format!("begins with {} {}", event.kind, event.version),
            ));
        }
        let delay = number(body, "delay_ms");
        let scheduled = delay > 0 || body.get("run_at_ms").is_some();
        Ok(Self {
            status: if scheduled { "scheduled" } else { "pending" },
            version: 1,
            last: event.position.to_string(),
            attempt: 0,
            holder: None,
            cancelling: false,
            completions: 0,
            queue: text(body, "queue"),
            kind: text(body, "type"),
            priority: text(body, "priority"),
            client_key: body["labels"]["key"].as_str().map(ToOwned::to_owned),
            max_retries: number(&body["retry"], "max_retries"),
            max_deliveries: number(body, "max_deliveries"),
            failures: 0,
            losses: 0,
            due_ms: (event.position.ms + delay).max(number(body, "run_at_ms")),
            released_unknown: 0,
            data: ["data", "data_stored"].map(|name| body[name].clone()),
            refused: BTreeSet::new(),
        })
    }

    fn step(&mut self, before: &Self, event: &RawEvent) -> Result<(), Broken> {
        let body = &event.body;
        let from = |statuses: &[&str]| {
            if statuses.contains(&before.status) {
                Ok(())
            } else {
                Err((PATH, format!("{} while {}", event.kind, before.status)))
            }
        };
        let ended = |lost: &'static str| if before.cancelling { "cancelled" } else { lost };
        match event.kind.as_str() {
            "Started" => {
                from(&["pending"])?;
                if number(body, "attempt") != before.attempt + 1 {
                    let detail = format!("{} after {}", body["attempt"], before.attempt);
                    return Err((ATTEMPTS, detail));
                }
                if event.position.ms < before.due_ms {
                    return Err((TIMES, format!("due at {}", before.due_ms)));
                }
                self.attempt += 1;
                self.holder = Some(text(body, "holder"));
                self.status = "processing";
            }
            "Progressed" => from(&["processing"])?,
            "Completed" => {
                if before.completions > 0 {
                    return Err((ONCE, "a second completion".to_owned()));
                }
                from(&["processing"])?;
                before.holds(body)?;
                let result = ["result", "result_stored"].map(|name| body[name].clone());
                if self.kind == "echo" && result != self.data {
                    let detail = format!("{:?} came back as {result:?}", self.data);
                    return Err((DATA, detail));
                }
                self.completions += 1;
                self.status = "completed";
            }
            "AttemptFailed" => {
                from(&["processing"])?;
                before.holds(body)?;
                self.failures += 1;
                self.due_ms = event.position.ms + number(body, "delay_ms");
                self.status = ended("retrying");
                if self.failures > self.max_retries && self.status == "retrying" {
                    return Err((LIMITS, format!("failure {} is retried", self.failures)));
                }
            }
            "Requeued" => {
                from(&["scheduled", "retrying"])?;
                if event.position.ms < before.due_ms {
                    return Err((TIMES, format!("due at {}", before.due_ms)));
                }
                self.status = "pending";
            }
            "LeaseExpired" => {
                if body["started"] == true {
                    from(&["processing"])?;
                    before.holds(body)?;
                } else {
                    from(&["pending"])?;
                }
                self.losses += 1;
                self.status = ended("pending");
                if self.losses > self.max_deliveries && self.status == "pending" {
                    return Err((LIMITS, format!("loss {} is redelivered", self.losses)));
                }
            }
            "Released" => {
                if body["reason"] == "unknown_type" {
                    from(&["pending"])?;
                    self.released_unknown += 1;
                    if self.released_unknown > 1 {
                        return Err((LIMITS, "parked twice in one life".to_owned()));
                    }
                } else {
                    from(&["processing"])?;
                    before.holds(body)?;
                }
                self.status = ended("pending");
            }
            "DeadLettered" => {
                if before.cancelling {
                    return Err((PATH, "dead-lettered while being cancelled".to_owned()));
                }
                if body["reason"] == "crash_loop" {
                    from(&["pending", "processing"])?;
                    if before.losses != before.max_deliveries {
                        return Err((
                            LIMITS,
                            format!("a crash loop after {} losses", before.losses),
                        ));
                    }
                } else {
                    from(&["processing"])?;
                    before.holds(body)?;
                    let kind = body["error"]["kind"].as_str();
                    // Clients of a run send data that its handlers take.
                    if kind == Some("invalid_payload") {
                        return Err((
                            DATA,
                            format!("the data could not be read: {}", body["error"]),
                        ));
                    }
                    let retried = matches!(kind, Some("error" | "timeout" | "panic"));
                    if retried && before.failures < before.max_retries {
                        let detail = format!("given up after {} failures", before.failures);
                        return Err((LIMITS, detail));
                    }
                }
                self.status = "failed";
            }
            "CancelRequested" => {
                from(&["processing"])?;
                self.cancelling = true;
            }
            "Cancelled" => {
                from(&["pending", "scheduled", "retrying"])?;
                self.status = "cancelled";
            }
            "Expired" => {
                from(&["pending", "scheduled"])?;
                if before.attempt > 0 {
                    return Err((PATH, "expired after it had started".to_owned()));
                }
                self.status = "expired";
            }
            "LateCompletionRefused" => {
                if before.status == "processing" && before.holds(body).is_ok() {
                    return Err((FENCE, "its own holder was refused".to_owned()));
                }
                let who = (number(body, "attempt"), text(body, "holder"));
                if !self.refused.insert(who.clone()) {
                    return Err((REFUSED, format!("{who:?} again")));
                }
            }
            "DlqRetried" => {
                from(&["failed"])?;
                (self.failures, self.losses, self.released_unknown) = (0, 0, 0);
                self.status = "pending";
            }
            "DlqRemoved" => {
                from(&["failed"])?;
                self.status = "removed";
            }
            other => return Err((PATH, format!("what is {other}?"))),
        }
        if self.status != "processing" {
            self.cancelling = false;
        }
        Ok(())
    }

    /// Whether an event speaks for the running attempt.
    fn holds(&self, body: &Value) -> Result<(), Broken> {
        let (attempt, holder) = (number(body, "attempt"), text(body, "holder"));
        if attempt == self.attempt && self.holder.as_deref() == Some(holder.as_str()) {
            return Ok(());
        }
        let detail = format!(
            "attempt {attempt} of {holder} where attempt {} of {:?} runs",
            self.attempt, self.holder
        );
        Err((FENCE, detail))
    }

    /// Whether nothing can bring it back.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self.status,
            "completed" | "cancelled" | "expired" | "removed"
        )
    }
}
