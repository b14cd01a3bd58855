//! The text format of `/metrics`, read back: for `dig-ingest status` and the charts of the operator page. Pure.

use std::collections::BTreeMap;

/// Samples by name and labels; lines that are none are left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<Sample>);

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Samples {
    /// Reads the text format of Prometheus.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(sample).collect())
    }

    /// The sum over all labels that has `label` = `value`, or all of a name without a label; `None` without any sample.
    #[must_use]
    pub fn sum(&self, name: &str, label: Option<(&str, &str)>) -> Option<f64> {
        let fits = |sample: &&Sample| {
            sample.name == name
                && label.is_none_or(|(key, value)| {
                    sample.labels.get(key).is_some_and(|given| given == value)
                })
        };
        self.0
            .iter()
            .filter(fits)
            .map(|sample| sample.value)
            .reduce(|sum, value| sum + value)
    }

    /// The value of the label of the one sample of a name that is 1.
    #[must_use]
    pub fn state(&self, name: &str, label: &str) -> Option<&str> {
        let mut on = self
            .0
            .iter()
            .filter(|sample| sample.name == name && sample.value == 1.0);
        on.next()?.labels.get(label).map(String::as_str)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Labels behind the opening brace, and what comes behind the closing one.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, behind) = rest.split_once("=\"")?;
        let (mut value, mut escaped) = (String::new(), false);
        let mut end = None;
        for (at, c) in behind.char_indices() {
            match (escaped, c) {
                (true, 'n') => value.push('\n'),
                (true, c) => value.push(c),
                (false, '\\') => {}
                (false, '"') => {
                    end = Some(at + 1);
                    break;
                }
                (false, c) => value.push(c),
            }
            escaped = !escaped && c == '\\';
        }
        labels.insert(key.to_owned(), value);
        rest = behind.get(end?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_their_labels() {
        let text = "# HELP a_total Something.\n# TYPE a_total counter\na_total{topic=\"t\",outcome=\"accepted\"} 3\n\
                    a_total{topic=\"u\",outcome=\"accepted\"} 4\na_total{topic=\"u\",outcome=\"held\"} 5\n\
                    odd{say=\"a\\\"b,}\\\\\"} 1\nodd{say=\"no\"} 0\nplain 0.5\nbroken{x=\"\n\n";
        let samples = Samples::read(text);
        let accepted = samples.sum("a_total", Some(("outcome", "accepted")));
        assert_eq!(
            (accepted, samples.sum("a_total", None)),
            (Some(7.0), Some(12.0))
        );
        assert_eq!(samples.sum("plain", None), Some(0.5));
        assert_eq!(samples.sum("broken", None), None);
        assert_eq!(samples.state("odd", "say"), Some("a\"b,}\\"));
    }
}
