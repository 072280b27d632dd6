//! Speakers against each other in a simulated network under virtual time.
//!
//! Every test runs many seeds; a failure names its seed. `SIM_SEED=n` runs that one alone and prints what the speakers
//! told, `SIM_SEEDS=n` runs so many.

#![allow(clippy::unwrap_used, reason = "a test")]

mod collisions;
mod faults;
mod sessions;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a test for many seeds, or for the one that is asked for.
fn for_seeds(seeds: u64, test: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SIM_SEED") {
        return test(seed);
    }
    for seed in 0..number("SIM_SEEDS").unwrap_or(seeds) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("SIM_SEED={seed} runs this again");
            resume_unwind(panic);
        }
    }
}
