//! Gauges about the system as Prometheus' text. They are written anew for each scrape: what is no more (a queue, a
//! worker, Redis' answer) is absent then, while a recorder would tell its last number for ever.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Gauges of one scrape, by name.
#[derive(Debug, Default)]
pub(crate) struct Gauges(BTreeMap<&'static str, Vec<(String, f64)>>);

impl Gauges {
    /// Sets a gauge without labels.
    pub(crate) fn set(&mut self, name: &'static str, value: f64) {
        self.set_of(name, &[], value);
    }

    /// Sets a gauge with labels.
    pub(crate) fn set_of(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        self.0.entry(name).or_default().push((labels, value));
    }

    /// The text; `help` of each name.
    pub(crate) fn render(&self, help: impl Fn(&str) -> &'static str) -> String {
        let mut text = String::new();
        for (name, series) in &self.0 {
            // Writing to a string does not fail.
            write!(text, "# HELP {name} {}\n# TYPE {name} gauge\n", help(name)).ok();
            for (labels, value) in series {
                writeln!(text, "{name}{labels} {value}").ok();
            }
            text.push('\n');
        }
        text
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::Gauges;

    #[test]
    fn gauges_are_written_as_prometheus_reads_them() {
        let mut gauges = Gauges::default();
        gauges.set("up", 1.0);
        gauges.set_of("depth", &[("queue", "a\"b\\c"), ("class", "low")], 2.5);
        gauges.set_of("depth", &[("queue", "z")], 0.0);
        let text = gauges.render(|name| {
            if name == "up" {
                "Whether."
            } else {
                "How deep."
            }
        });
        let depth = concat!(
            "# HELP depth How deep.\n# TYPE depth gauge\n",
            "depth{queue=\"a\\\"b\\\\c\",class=\"low\"} 2.5\ndepth{queue=\"z\"} 0\n\n"
        );
        assert_eq!(
            text,
            format!("{depth}# HELP up Whether.\n# TYPE up gauge\nup 1\n\n")
        );
    }
}
