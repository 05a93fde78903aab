//! Arguments of the load test.

use clap::Args;
use taskweir_loadtest::load::Mix;

/// A load test over HTTP.
#[derive(Debug, Args)]
pub struct LoadTest {
    /// Tasks to submit.
    #[arg(long, short = 'n', default_value_t = 100)]
    pub count: u64,
    /// Submits per second; as fast as may be where absent.
    #[arg(long, value_parser = positive)]
    pub rate: Option<f64>,
    /// Requests under way at once.
    #[arg(long, short, default_value_t = 16)]
    pub connections: usize,
    /// Types and their weights, such as process=8,echo=1,fail=1.
    #[arg(long, default_value = "process")]
    pub mix: Mix,
    /// The queue they wait in.
    #[arg(long, default_value = "default")]
    pub queue: String,
    /// Seconds to wait, after the last submit, for the last task to end.
    #[arg(long, default_value_t = 60)]
    pub patience: u64,
}

fn positive(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "a number is needed".to_owned())?;
    if rate.is_finite() && rate > 0.0 {
        Ok(rate)
    } else {
        Err("a number above 0 is needed".to_owned())
    }
}
