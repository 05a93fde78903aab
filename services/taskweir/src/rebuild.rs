//! `taskweir rebuild`: fresh views from the log, compared with the live ones and swapped in.

use serde_json::json;
use taskweir_runtime::printable::printable_line;

use crate::output::{say, say_json};
use crate::serve;

/// Rebuilds and tells. Differences found are repaired by that and no failure.
pub async fn run(json: bool) -> anyhow::Result<()> {
    let store = serve::store_for_upkeep().await?;
    let rebuilt = taskweir_projector::rebuild(&store).await?;
    if json {
        let told = json!({
            "events": rebuilt.events,
            "equal": rebuilt.live == rebuilt.fresh,
            "live_digest": format!("{:032x}", rebuilt.live),
            "fresh_digest": format!("{:032x}", rebuilt.fresh),
            "difference_count": rebuilt.count,
            "differences": rebuilt.differences,
        });
        say_json(&told.to_string());
        return Ok(());
    }
    say(&format!(
        "{} events folded; views were {:032x}, are {:032x}\n",
        rebuilt.events, rebuilt.live, rebuilt.fresh
    ));
    for difference in &rebuilt.differences {
        say(&format!(
            "differed: {}\n",
            printable_line(&difference.to_string())
        ));
    }
    say(match rebuilt.count {
        0 => "the live views were right\n",
        _ => "the live views were wrong in places and are right now\n",
    });
    Ok(())
}
