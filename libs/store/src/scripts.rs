//! The Lua scripts: one file per transition, called by hash, loaded again where Redis forgot them.

use std::sync::LazyLock;

use crate::sabotage;

const PRELUDE: &str = include_str!("lua/prelude.lua");

struct Source {
    code: String,
    hash: String,
}

impl Source {
    fn new(body: &str) -> Self {
        let code = sabotage::broken(format!("{PRELUDE}\n{body}"));
        let hash = redis::Script::new(&code).get_hash().to_owned();
        Self { code, hash }
    }
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal),+ $(,)?) => {
        /// A script of `src/lua`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Script {
            $($(#[$doc])* $name,)+
        }

        impl Script {
            /// Every script.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name, as in its file and in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $file,)+ }
            }
        }

        static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| vec![
            $(Source::new(include_str!(concat!("lua/", $file, ".lua"))),)+
        ]);
    };
}

scripts! {
    /// Makes tasks.
    Submit = "submit",
    /// Holds an idempotency key for a task of another partition.
    Reserve = "reserve",
    /// Makes the consumer groups of ready streams.
    Groups = "groups",
    /// Takes ready entries for a consumer.
    Claim = "claim",
    /// Gives them back unused.
    Unclaim = "unclaim",
    /// Removes malformed ready entries.
    Discard = "discard",
    /// Begins attempts.
    Start = "start",
    /// Settles attempts.
    Finish = "finish",
    /// Moves what is due to the ready streams.
    Promote = "promote",
    /// Ends tasks that were not started in time.
    Expire = "expire",
    /// Takes tasks from silent workers.
    Reclaim = "reclaim",
    /// Gives running tasks back at shutdown.
    Release = "release",
    /// Puts tasks of an unknown type aside.
    Park = "park",
    /// Brings them back.
    Unpark = "unpark",
    /// Renews leases.
    Heartbeat = "heartbeat",
    /// A worker says that it lives.
    Presence = "presence",
    /// Forgets a worker.
    Leave = "leave",
    /// Notes progress.
    Progress = "progress",
    /// Cancels.
    Cancel = "cancel",
    /// Takes tasks back from the dead letters.
    DlqRetry = "dlq_retry",
    /// Removes tasks from the dead letters.
    DlqRemove = "dlq_remove",
    /// Pauses and resumes queues.
    Pause = "pause",
    /// Reads histories.
    History = "history",
    /// Reads records with where their tasks stand.
    Membership = "membership",
    /// Reads views with their checkpoint.
    ViewContent = "view_content",
    /// Puts rebuilt views in the place of the live ones.
    SwapViews = "swap_views",
    /// Looks for keys.
    Scan = "scan",
    /// Finds entries of queues that no task knows of.
    Strays = "strays",
    /// Cuts the log and moves the base.
    Cut = "cut",
    /// Lets retention wait for a reader.
    Hold = "hold",
    /// Notes a bulk operation.
    OperationCreate = "operation_create",
    /// Gives it to a runner.
    OperationClaim = "operation_claim",
    /// Notes how far it is.
    OperationSave = "operation_save",
    /// Stops it.
    OperationStop = "operation_stop",
    /// Moves a projection.
    Apply = "apply",
}

fn call(command: &str, script: &str, keys: usize, fill: impl Fn(&mut redis::Cmd)) -> redis::Cmd {
    let mut cmd = redis::cmd(command);
    cmd.arg(script).arg(keys);
    fill(&mut cmd);
    cmd
}

impl Script {
    /// Whether it changes nothing, so that it may be called again without a thought.
    pub(crate) const fn is_read(self) -> bool {
        matches!(
            self,
            Self::History | Self::Membership | Self::ViewContent | Self::Strays | Self::Scan
        )
    }

    /// SHA-1 by which Redis calls it.
    pub(crate) fn hash(self) -> &'static str {
        &SOURCES[self as usize].hash
    }

    /// A call of it; `fill` appends keys, then arguments.
    pub(crate) fn call(self, keys: usize, fill: impl Fn(&mut redis::Cmd)) -> redis::Cmd {
        sabotage::note_call(self.name());
        call("EVALSHA", self.hash(), keys, fill)
    }

    pub(crate) fn source(self) -> &'static str {
        &SOURCES[self as usize].code
    }

    /// The same call with the script itself, for a server that does not know it yet, or no more. It learns it thereby;
    /// in a cluster it is the one server that was asked, whatever the others are up to.
    pub(crate) fn call_whole(self, keys: usize, fill: impl Fn(&mut redis::Cmd)) -> redis::Cmd {
        call("EVAL", self.source(), keys, fill)
    }
}
