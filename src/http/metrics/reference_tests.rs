//! `docs/metrics.md` has each metric that there is and no other, with its kind, its labels and its words.

use std::collections::{BTreeMap, BTreeSet};

use super::spans;
use super::tests::full_page;
use crate::telemetry::otlp::SpanCounts;

/// Kind, names of labels, and meaning.
type Described = (String, BTreeSet<String>, String);

/// What the page says of its metrics, by name.
fn of_page(page: &str) -> BTreeMap<String, Described> {
    let mut found = BTreeMap::<String, Described>::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a meaning");
            found.entry(name.to_owned()).or_default().2 = help.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a kind");
            found.entry(name.to_owned()).or_default().0 = kind.to_owned();
        } else {
            let sample = line.split([' ', '{']).next().expect("a name");
            let ends = ["_bucket", "_sum", "_count"].map(|end| sample.strip_suffix(end));
            let mut names = [Some(sample)].into_iter().chain(ends).flatten();
            let name = names.find(|name| found.contains_key(*name)).expect("described before");
            let labels = line.split_once('{').map_or("", |(_, labels)| labels);
            let labels = labels.split("=\"").filter_map(|part| part.rsplit(['{', ',', '"']).next());
            let labels: Vec<_> = labels.map(str::to_owned).collect();
            let labels = labels.split_last().map_or(&[][..], |(_, labels)| labels);
            let own = labels.iter().filter(|label| *label != "le").cloned();
            found.get_mut(name).expect("found").1.extend(own);
        }
    }
    found
}

/// What the reference says, by name: the rows of its tables that begin with a metric.
fn of_reference(text: &str) -> BTreeMap<String, Described> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `keyledger_"));
    let row = |row: &str| {
        let cells: Vec<_> = row.trim_end_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("{row}") };
        let labels = labels.split(", ").map(|label| label.trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        let name = format!("keyledger_{}", name.trim_end_matches('`'));
        (name, (kind.to_owned(), labels, meaning.to_owned()))
    };
    rows.map(row).collect()
}

#[test]
fn the_reference_has_every_metric_as_it_is_and_no_other() {
    let page = of_page(&(full_page() + &spans::render(&SpanCounts::default())));
    let reference = of_reference(include_str!("../../../docs/metrics.md"));
    for (name, described) in &page {
        assert_eq!(reference.get(name), Some(described), "{name}");
    }
    for name in reference.keys() {
        assert!(page.contains_key(name), "{name} is no metric");
    }
}

#[test]
fn labels_are_read_from_samples() {
    let page = "# HELP a What.\n# TYPE a histogram\na_bucket{x=\"1\",y=\"b\",le=\"5\"} 2\na_count{x=\"1\",y=\"b\"} 2\n";
    let labels = &of_page(page)["a"].1;
    assert_eq!(labels.iter().collect::<Vec<_>>(), ["x", "y"]);
}
