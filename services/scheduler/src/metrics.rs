//! The scheduler's metrics.

use metrics::{Unit, describe_counter};

pub(crate) const REDELIVERIES: &str = "task_redeliveries_total";
pub(crate) const EXPIRIES: &str = "task_expiries_total";
pub(crate) const PROMOTIONS: &str = "task_promotions_total";
pub(crate) const EVENTS_CUT: &str = "taskweir_events_cut_total";

/// Gives the scheduler's metrics their help texts.
pub fn describe() {
    describe_counter!(
        REDELIVERIES,
        Unit::Count,
        "Tasks taken from workers that fell silent and made ready again."
    );
    describe_counter!(
        EXPIRIES,
        Unit::Count,
        "Tasks that were not started in time."
    );
    describe_counter!(
        PROMOTIONS,
        Unit::Count,
        "Scheduled and retrying tasks whose time came."
    );
    describe_counter!(
        EVENTS_CUT,
        Unit::Count,
        "Events folded into the base and cut from the log."
    );
}
