//! Which answers a caller takes: the `Accept` header (RFC 9110 §12.5.1).

use poem::web::Accept;
use poem::{FromRequest, Request};

/// Whether the caller takes JSON. The most specific range that fits decides; without a readable
/// range everything is taken.
pub(crate) async fn takes_json(request: &Request) -> bool {
    let Ok(Accept(ranges)) = Accept::from_request_without_body(request).await else {
        return true;
    };
    let fitting = ranges.iter().filter_map(|range| {
        let specificity = match range.essence_str() {
            "application/json" => 2,
            "application/*" => 1,
            "*/*" => 0,
            _ => return None,
        };
        let weight = range.get_param("q").map_or("1", |q| q.as_str());
        // A weight that cannot be read is as good as none.
        Some((specificity, weight.parse().is_ok_and(|q: f32| q <= 0.0)))
    });
    match fitting.max_by_key(|(specificity, _)| *specificity) {
        Some((_, excluded)) => !excluded,
        None => ranges.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use poem::Request;

    use super::takes_json;

    #[tokio::test]
    async fn the_most_specific_range_decides() {
        for (accept, taken) in [
            ("*/*", true),
            ("application/json", true),
            ("application/*;q=0.1", true),
            ("text/html,application/xhtml+xml,*/*;q=0.8", true),
            ("application/json; charset=utf-8", true),
            ("", true),
            ("nonsense", true),
            ("text/html", false),
            ("application/xml, text/*", false),
            ("application/json;q=0, */*", false),
            ("application/json;q=0.5, */*;q=0", true),
        ] {
            let request = Request::builder().header("accept", accept).finish();
            assert_eq!(takes_json(&request).await, taken, "{accept}");
        }
        assert!(takes_json(&Request::builder().finish()).await);
    }
}
