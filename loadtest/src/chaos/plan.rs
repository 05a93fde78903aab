//! The schedule of faults, drawn from a seed: the same seed gives the same schedule.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Serves HTTP.
    Gateway,
    /// Runs tasks.
    Worker,
    /// Makes the views.
    Projector,
    /// Promotes, redelivers, cuts.
    Scheduler,
}

impl Role {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::Gateway,
        Self::Worker,
        Self::Projector,
        Self::Scheduler,
    ];

    /// Its subcommand.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Worker => "worker",
            Self::Projector => "projector",
            Self::Scheduler => "scheduler",
        }
    }

    /// How many a cluster has.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::Worker => 3,
            _ => 2,
        }
    }
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, started again after so many ms.
    Kill(Role, usize, u64),
    /// `SIGSTOP` for so many ms.
    Freeze(Role, usize, u64),
    /// `kill -9` of Redis, started again after so many ms.
    KillRedis(u64),
    /// The machine of Redis loses power, back after so many ms; of what was never synced a share of so
    /// many percent stays.
    PowerLoss(u64, u64),
    /// `SIGSTOP` of Redis for so many ms.
    FreezeRedis(u64),
    /// All connections of a process to Redis are cut.
    Cut(Role, usize),
    /// What a process and Redis say to each other comes later by ms, for ms.
    Delay(Role, usize, u64, u64),
    /// What a process and Redis say to each other stays on its way for ms; no connection is closed.
    Silence(Role, usize, u64),
    /// Redis' clock is set forward or back by ms.
    Clock(i64),
    /// A replica that is behind by ms takes over: what Redis was told meanwhile is lost.
    Failover(u64),
}

impl Fault {
    /// Whether it kills a process.
    #[must_use]
    pub const fn kills(&self) -> bool {
        matches!(
            self,
            Self::Kill(..) | Self::KillRedis(_) | Self::PowerLoss(..) | Self::Failover(_)
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(role, index, ms) => {
                write!(f, "kill {} {index}, back after {ms} ms", role.as_str())
            }
            Self::Freeze(role, index, ms) => {
                write!(f, "freeze {} {index} for {ms} ms", role.as_str())
            }
            Self::KillRedis(ms) => write!(f, "kill redis, back after {ms} ms"),
            Self::PowerLoss(ms, percent) => write!(
                f,
                "cut redis' power, {percent}% of what was not synced stays, back after {ms} ms"
            ),
            Self::FreezeRedis(ms) => write!(f, "freeze redis for {ms} ms"),
            Self::Cut(role, index) => write!(f, "cut {} {index} off", role.as_str()),
            Self::Delay(role, index, by, ms) => {
                write!(f, "delay {} {index} by {by} ms for {ms} ms", role.as_str())
            }
            Self::Silence(role, index, ms) => {
                write!(f, "silence {} {index} for {ms} ms", role.as_str())
            }
            Self::Clock(ms) => write!(f, "set redis' clock by {ms} ms"),
            Self::Failover(ms) => write!(f, "fail over to a replica that is {ms} ms behind"),
        }
    }
}

/// A fault and its time from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Duration,
    /// What.
    pub fault: Fault,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In order of time.
    pub steps: Vec<Step>,
    /// When it is over.
    pub length: Duration,
}

/// Mean time between two faults, s.
const MEAN_GAP: f64 = 0.8;
/// The last faults come so long before the end.
const TAIL: Duration = Duration::from_secs(3);
/// Weights of the kinds of faults.
const WEIGHTS: [(&str, u32); 13] = [
    ("kill-worker", 22),
    ("kill-scheduler", 8),
    ("kill-projector", 8),
    ("kill-gateway", 8),
    ("freeze", 16),
    ("kill-redis", 5),
    ("freeze-redis", 3),
    ("cut", 12),
    ("delay", 8),
    ("silence", 5),
    ("clock", 5),
    // They lose what was acknowledged: only where they are asked for.
    (FAILOVER, 0),
    (POWER_LOSS, 0),
];
/// Weight of what loses something, where it is asked for.
const LOSING_WEIGHT: u32 = 6;
const FAILOVER: &str = "failover";
const POWER_LOSS: &str = "power-loss";

impl Plan {
    /// The names of faults, for choosing some.
    pub fn names() -> impl Iterator<Item = &'static str> {
        WEIGHTS.iter().map(|(name, _)| *name)
    }

    /// Draws a schedule. `only` names the kinds of faults to draw from; all where it is empty.
    #[must_use]
    pub fn draw(seed: u64, length: Duration, only: &[String]) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let wanted = |name: &str| only.iter().any(|wanted| wanted == name);
        let kinds: Vec<(&str, u32)> = WEIGHTS
            .into_iter()
            .filter(|(name, _)| only.is_empty() || wanted(name))
            .map(|(name, weight)| match name {
                FAILOVER | POWER_LOSS if wanted(name) => (name, LOSING_WEIGHT),
                _ => (name, weight),
            })
            .collect();
        let sum: u32 = kinds.iter().map(|(_, weight)| weight).sum();
        let mut steps = Vec::new();
        let mut at = Duration::from_secs(1);
        while sum > 0 && at + TAIL < length {
            let mut roll = dice.random_range(0..sum);
            let kind = kinds.iter().find(|(_, weight)| {
                let here = roll < *weight;
                roll = roll.saturating_sub(*weight);
                here
            });
            if let Some((name, _)) = kind {
                steps.push(Step {
                    at,
                    fault: draw_fault(&mut dice, name),
                });
            }
            let unit: f64 = dice.random_range(0.000_1..1.0);
            at += Duration::from_secs_f64((-unit.ln() * MEAN_GAP).min(5.0));
        }
        Self { steps, length }
    }
}

fn draw_fault(dice: &mut StdRng, name: &str) -> Fault {
    let any = |dice: &mut StdRng| {
        // Workers are half of it.
        let role = match dice.random_range(0..6) {
            0..=2 => Role::Worker,
            3 => Role::Gateway,
            4 => Role::Projector,
            _ => Role::Scheduler,
        };
        (role, dice.random_range(0..role.count()))
    };
    let kill = |dice: &mut StdRng, role: Role| {
        let index = dice.random_range(0..role.count());
        Fault::Kill(role, index, dice.random_range(50..1_500))
    };
    match name {
        "kill-worker" => kill(dice, Role::Worker),
        "kill-scheduler" => kill(dice, Role::Scheduler),
        "kill-projector" => kill(dice, Role::Projector),
        "kill-gateway" => kill(dice, Role::Gateway),
        "freeze" => {
            let (role, index) = any(dice);
            Fault::Freeze(role, index, dice.random_range(200..5_000))
        }
        "kill-redis" => Fault::KillRedis(dice.random_range(50..1_000)),
        "freeze-redis" => Fault::FreezeRedis(dice.random_range(500..3_500)),
        "cut" => {
            let (role, index) = any(dice);
            Fault::Cut(role, index)
        }
        "delay" => {
            let (role, index) = any(dice);
            Fault::Delay(
                role,
                index,
                dice.random_range(20..600),
                dice.random_range(500..4_000),
            )
        }
        "silence" => {
            let (role, index) = any(dice);
            Fault::Silence(role, index, dice.random_range(500..5_000))
        }
        POWER_LOSS => {
            let torn = dice.random_range(0..100);
            let percent = if dice.random_range(0..2) == 0 {
                0
            } else {
                torn
            };
            Fault::PowerLoss(dice.random_range(50..1_000), percent)
        }
        FAILOVER => Fault::Failover(dice.random_range(50..1_500)),
        _ => Fault::Clock(dice.random_range(-4_000..4_000)),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "  {:7.3} s  {}", step.at.as_secs_f64(), step.fault)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fault, Plan};

    #[test]
    fn the_same_seed_is_the_same_schedule_and_another_is_not() {
        let draw = |seed| Plan::draw(seed, Duration::from_secs(120), &[]);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let kills: usize = (0..10)
            .map(|seed| {
                draw(seed)
                    .steps
                    .iter()
                    .filter(|step| step.fault.kills())
                    .count()
            })
            .sum();
        assert!(kills >= 200, "{kills}");
    }

    #[test]
    fn faults_can_be_chosen() {
        let only = vec!["kill-redis".to_owned()];
        let plan = Plan::draw(1, Duration::from_secs(60), &only);
        assert!(!plan.steps.is_empty());
        assert!(
            plan.steps
                .iter()
                .all(|step| matches!(step.fault, Fault::KillRedis(_)))
        );
    }
}
