//! Charts as inline SVG: no script, no style of their own.

use maud::{Markup, html};

/// Width and height of a chart, in its own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// Points of a line over a width and height, the largest value at the top.
fn points(values: &[u64], most: u64, width: f64, height: f64) -> String {
    let step = width / (values.len().max(2) - 1) as f64;
    let scale = height / most.max(1) as f64;
    let places = values.iter().enumerate().map(|(index, value)| {
        let (x, y) = (index as f64 * step, height - *value as f64 * scale);
        format!("{x:.1},{y:.1}")
    });
    places.collect::<Vec<_>>().join(" ")
}

/// Completions and failures per minute, oldest first, with words for those who cannot see it.
pub(crate) fn throughput(completed: &[u64], failed: &[u64]) -> Markup {
    let most = completed.iter().chain(failed).copied().max().unwrap_or(0);
    let sum = |values: &[u64]| values.iter().sum::<u64>();
    let told = format!(
        "In the last {} minutes {} attempts completed and {} failed; at most {most} in a minute.",
        completed.len(),
        sum(completed),
        sum(failed)
    );
    html! {
        figure.card.chart {
            svg viewBox=(format!("0 -4 {WIDTH} {}", HEIGHT + 8.0)) preserveAspectRatio="none" role="img" aria-label=(told) {
                line.grid x1="0" y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) {}
                line.grid x1="0" y1=(HEIGHT / 2.0) x2=(WIDTH) y2=(HEIGHT / 2.0) {}
                polyline.completed points=(points(completed, most, WIDTH, HEIGHT)) {}
                polyline.failed points=(points(failed, most, WIDTH, HEIGHT)) {}
            }
            figcaption {
                span.state.state-completed { "— completed" } " " span.state.state-failed { "— failed" }
                " per minute over the last hour, at most " (most)
            }
        }
    }
}

/// A small line for a table cell.
pub(crate) fn sparkline(values: &[u64], what: &str) -> Markup {
    let most = values.iter().copied().max().unwrap_or(0);
    let told = format!(
        "{what}: {} in all, at most {most} per minute",
        values.iter().sum::<u64>()
    );
    html! {
        svg.spark viewBox="0 -1 90 22" preserveAspectRatio="none" role="img" aria-label=(told) {
            polyline.completed points=(points(values, most, 90.0, 20.0)) {}
        }
    }
}

/// Shares of a whole as a bar; each share with its class and its word.
pub(crate) fn shares(parts: &[(&str, u64)]) -> Markup {
    let whole: u64 = parts.iter().map(|(_, count)| count).sum();
    let told: Vec<String> = parts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    let mut from = 0.0;
    html! {
        svg.shares viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=(if told.is_empty() { "none".to_owned() } else { told.join(", ") }) {
            rect.rest x="0" y="0" width="100" height="8" {}
            @for (name, count) in parts {
                @let width = *count as f64 * 100.0 / whole.max(1) as f64;
                @let x = { let x = from; from += width; x };
                @if *count > 0 {
                    rect class=(format!("fill-{name}")) x=(format!("{x:.2}")) y="0" width=(format!("{width:.2}")) height="8" {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::points;

    #[test]
    fn lines_fill_their_box() {
        assert_eq!(
            points(&[0, 5, 10], 10, 100.0, 20.0),
            "0.0,20.0 50.0,10.0 100.0,0.0"
        );
        assert_eq!(points(&[3], 3, 100.0, 20.0), "0.0,0.0");
        assert_eq!(points(&[0, 0], 0, 10.0, 20.0), "0.0,20.0 10.0,20.0");
        assert_eq!(points(&[], 0, 10.0, 20.0), "");
    }
}
