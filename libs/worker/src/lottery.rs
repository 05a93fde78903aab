//! Who is served next: a weighted lottery, so that every class gets its share and none starves.
//!
//! Each free slot is one ticket drawn among the streams (8:3:1 by class). From 60 s of waiting on,
//! a stream's weight doubles with every further minute.
//!
//! Source of the scheme: C. Waldspurger and W. Weihl, "Lottery Scheduling", OSDI 1994.

use taskweir_store::{Claim, ReadyStream};

/// Age from which waiting counts, and by which a weight doubles, ms.
const AGE_STEP_MS: u64 = 60_000;
/// Most doublings: beyond, the oldest wins nearly always anyway.
const MAX_DOUBLINGS: u64 = 10;

/// Weight of a stream whose oldest known task waits for `age_ms`.
pub(crate) fn weight(stream: &ReadyStream, age_ms: u64) -> f64 {
    let doublings = (age_ms / AGE_STEP_MS).min(MAX_DOUBLINGS);
    f64::from(stream.priority.weight()) * (1_u64 << doublings) as f64
}

/// Draws `slots` tickets among weighted streams: how many each gives, in the order in which they
/// were first drawn; streams that drew none follow, so that what is left over finds takers.
/// `draw` gives random numbers from 0 to 1.
pub(crate) fn plan(weights: &[(usize, f64)], slots: usize, mut draw: impl FnMut() -> f64) -> Claim {
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut shares: Vec<(usize, usize)> = Vec::with_capacity(weights.len());
    if total <= 0.0 {
        return Claim::default();
    }
    for _ in 0..slots {
        let mut ticket = draw() * total;
        let drawn = weights.iter().find(|(_, weight)| {
            ticket -= weight;
            ticket < 0.0
        });
        let (stream, _) = drawn.unwrap_or(&weights[weights.len() - 1]);
        match shares.iter_mut().find(|(known, _)| known == stream) {
            Some((_, share)) => *share += 1,
            None => shares.push((*stream, 1)),
        }
    }
    for (stream, _) in weights {
        if !shares.iter().any(|(known, _)| known == stream) {
            shares.push((*stream, 0));
        }
    }
    Claim {
        shares,
        most: slots,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use taskweir_domain::Priority;
    use taskweir_store::ReadyStream;

    use super::{plan, weight};

    fn stream(priority: Priority) -> ReadyStream {
        ReadyStream {
            queue: "default".parse().unwrap(),
            priority,
        }
    }

    #[test]
    fn waiting_doubles_the_weight_per_minute_from_the_first_on() {
        let low = stream(Priority::Low);
        let weights: Vec<f64> = [0, 59_999, 60_000, 120_000, 86_400_000]
            .into_iter()
            .map(|age| weight(&low, age))
            .collect();
        assert_eq!(weights, [1.0, 1.0, 2.0, 4.0, 1_024.0]);
    }

    #[test]
    fn shares_follow_the_weights() {
        let weights: Vec<(usize, f64)> = Priority::ALL
            .into_iter()
            .enumerate()
            .map(|(index, priority)| (index, weight(&stream(priority), 0)))
            .collect();
        let mut next = 0.0;
        let draw = || {
            next = (next + 0.618_033_988_749_895) % 1.0;
            next
        };
        let claim = plan(&weights, 12_000, draw);
        for (index, share) in claim.shares {
            let expected = [8_000.0, 3_000.0, 1_000.0][index];
            assert!(
                (share as f64 - expected).abs() < expected * 0.02,
                "{index}: {share}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_slot_is_drawn_once_and_every_stream_named_once(
            weights in proptest::collection::vec(0.1..100.0_f64, 1..10), slots in 0_usize..200, seed in 0.0..1.0_f64,
        ) {
            let weights: Vec<(usize, f64)> = weights.into_iter().enumerate().collect();
            let mut next = seed;
            let claim = plan(&weights, slots, || { next = (next * 7.31 + 0.17) % 1.0; next });
            prop_assert_eq!(claim.shares.iter().map(|(_, share)| share).sum::<usize>(), slots);
            let mut named: Vec<usize> = claim.shares.iter().map(|(stream, _)| *stream).collect();
            named.sort_unstable();
            prop_assert!(named.iter().copied().eq(0..weights.len()));
        }
    }
}
