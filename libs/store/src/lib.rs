#![doc = include_str!("../README.md")]

pub mod accepts;
mod address;
mod audit;
mod base;
pub mod clock;
mod command;
mod diagnose;
mod durability;
pub mod entropy;
mod error;
mod fold;
#[cfg(fuzzing)]
pub mod fuzzing;
mod info;
mod instant;
mod keys;
pub mod labels;
mod link;
mod log;
mod malformed;
mod memory;
mod migrate;
mod operate;
mod operation;
mod ops;
mod overview;
mod past;
mod queries;
mod queues;
mod rebuild;
mod record;
mod reply;
mod row;
mod sabotage;
mod scripts;
mod sending;
mod shared;
mod story;
mod strays;
mod streams;
mod submitter;
mod target;
mod totals;
mod trim;
mod verified;
mod views;
mod workers;

pub use address::AddressError;
pub use audit::{Standing, ViewContent, digest};
pub use base::{BaseHead, Hold};
pub use command::Cancelled;
pub use durability::Durability;
pub use error::StoreError;
pub use fold::{Fold, FoldError};
pub use instant::Standpoint;
pub use keys::{Keys, VIEW_VERSION};
pub use link::{Limits, Partition, RedisSettings, Store};
pub use log::{LogEntry, LogRead};
pub use malformed::Malformed;
pub use memory::MemoryUse;
pub use migrate::migrate;
pub use migrate::{LAYOUT_VERSION, LayoutError, MigrateOptions, Migrated};
pub use operate::Ran;
pub use operation::{
    COUNTING, MAX_OPERATIONS, Operation, OperationKind, OperationState, Order, StopOutcome,
};
pub use ops::ClaimedWork;
pub use ops::{
    ActionOutcome, Applied, Beat, Begun, CancelOutcome, Cancellation, Claim, Claimed, Cut,
    CutOutcome, DeadEntry, DlqAction, ExpireOutcome, Expiring, Finish, FinishOutcome,
    HeartbeatState, History, Idempotency, Loss, MAX_BATCH, ParkOutcome, Parking, Pause,
    PauseOutcome, Payload, Presence, ProgressReport, PromoteOutcome, Promotion, ReclaimOutcome,
    ReleaseOutcome, Releasing, Reservation, RetryOutcome, SilentEntry, StartOutcome, Starting,
    Submission, SubmitOutcome, UnclaimOutcome, Unclaiming, UnparkOutcome,
};
pub use overview::{Lag, QueueOverview, StreamBytes};
pub use queries::{Filter, Item, Most, Page};
pub use queues::{GROUPS_RECREATED, QueueDepth, QueueFlags};
pub use rebuild::Swapped;
pub use record::Record;
pub use sending::{SUBMISSIONS, Sending, count_submitted, log_submitted};
pub use shared::REDIS_DURATION;
pub use story::{DlqOutcome, DlqVerb, Story, StoryAt};
pub use strays::Place;
pub use streams::{ReadyStream, StreamSet};
pub use submitter::Submitter;
pub use totals::{Counter, INDEX_SEPARATOR, Sum, Totals};
pub use trim::{NextCut, TrimError};
pub use verified::Verified;
pub use views::{Delta, Extra};
pub use workers::{SeenWorker, WorkerInfo};
