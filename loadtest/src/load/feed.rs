//! Hearing how tasks end: the feed of the gateway, taken up again where it breaks off.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::Caller;

/// Pause before the feed is asked for once more.
const AGAIN: Duration = Duration::from_millis(200);

/// The end of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) status: &'static str,
    /// From its first event to this one, ms by Redis' clock; `None` where the first was not heard.
    pub(crate) latency_ms: Option<u64>,
}

/// Events of a stream, as its bytes come.
#[derive(Default)]
struct Parser(String);

impl Parser {
    /// The id and data of each whole event.
    fn feed(&mut self, chunk: &str) -> Vec<(String, Value)> {
        self.0.push_str(chunk);
        let Some(end) = self.0.rfind("\n\n") else {
            return Vec::new();
        };
        let rest = self.0.split_off(end + 2);
        let whole = std::mem::replace(&mut self.0, rest);
        let events = whole.split("\n\n").filter_map(|event| {
            let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            let data = serde_json::from_str(line("data: ")?).ok()?;
            Some((line("id: ")?.to_owned(), data))
        });
        events.collect()
    }
}

/// ms of a position such as `1700000000000-0` or `3@1700000000000-0`.
fn ms(position: &str) -> Option<u64> {
    let position = position.split_once('@').map_or(position, |(_, rest)| rest);
    position.split_once('-')?.0.parse().ok()
}

/// Tells of every end in a queue, until dropped. `ready` gets a permit when it listens.
pub(crate) async fn listen(
    caller: Caller,
    queue: String,
    ready: Arc<Semaphore>,
    hear: impl Fn(&str, &Heard),
) {
    let (mut last, mut begun) = (String::new(), HashMap::new());
    loop {
        let mut call = caller.get("/events").query(&[("queue", &queue)]);
        if !last.is_empty() {
            call = call.header("Last-Event-ID", &last);
        }
        if let Ok(mut answer) = call.send().await {
            if !answer.status().is_success() {
                // A failover has put another log in its place, or it was cut: what comes from now on is heard at least.
                if answer.status() == StatusCode::GONE {
                    last.clear();
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            ready.add_permits(1);
            let mut parser = Parser::default();
            while let Ok(Some(chunk)) = answer.chunk().await {
                for (id, event) in parser.feed(&String::from_utf8_lossy(&chunk)) {
                    last = id;
                    tell(&event, &mut begun, &hear);
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The status of a task, where it is one that nothing follows by itself.
pub(crate) fn end_of(status: &str) -> Option<&'static str> {
    ["completed", "failed", "cancelled", "expired"]
        .into_iter()
        .find(|end| *end == status)
}

fn tell(event: &Value, begun: &mut HashMap<String, u64>, hear: &impl Fn(&str, &Heard)) {
    let (Some(task), Some(at)) = (
        event["task"].as_str(),
        event["position"].as_str().and_then(ms),
    ) else {
        return;
    };
    let status = match event["type"].as_str().unwrap_or_default() {
        "Submitted" => {
            begun.insert(task.to_owned(), at);
            return;
        }
        "Completed" => "completed",
        "DeadLettered" => "failed",
        "Cancelled" => "cancelled",
        "Expired" => "expired",
        _ => return,
    };
    let from = begun.remove(task);
    let heard = Heard {
        status,
        latency_ms: from.map(|from| at.saturating_sub(from)),
    };
    hear(task, &heard);
}

#[cfg(test)]
mod tests {
    use super::{Parser, ms};

    #[test]
    fn events_are_read_however_their_bytes_are_cut() {
        let text = "id: 1-0\ndata: {\"a\":1}\n\n:\n\nid: 2-0\ndata: {\"a\":2}\n\n";
        for cut in 0..text.len() {
            let mut parser = Parser::default();
            let mut events = parser.feed(&text[..cut]);
            events.extend(parser.feed(&text[cut..]));
            let ids: Vec<&str> = events.iter().map(|(id, _)| id.as_str()).collect();
            assert_eq!(ids, ["1-0", "2-0"], "cut at {cut}");
        }
        assert_eq!(
            (ms("17-3"), ms("2@17-3"), ms("x")),
            (Some(17), Some(17), None)
        );
    }
}
