//! The rules of CloudWatch's embedded metric format, as its published JSON schema and the text around it have them
//! ("Specification: Embedded metric format", Amazon CloudWatch user guide). Written from there, and knows nothing of
//! how the lines are made.

use serde_json::{Map, Value};

const UNITS: &str = "Seconds|Microseconds|Milliseconds|Bytes|Kilobytes|Megabytes|Gigabytes|Terabytes|Bits|Kilobits|Megabits|\
Gigabits|Terabits|Percent|Count|Bytes/Second|Kilobytes/Second|Megabytes/Second|Gigabytes/Second|Terabytes/Second|\
Bits/Second|Kilobits/Second|Megabits/Second|Gigabits/Second|Terabits/Second|Count/Second|None";
const MOST_DIMENSIONS: usize = 30;
const MOST_METRICS: usize = 100;
const MOST_VALUES: usize = 100;
/// CloudWatch takes what is not older than two weeks and not more than two hours ahead.
const OLDEST_SECS: i64 = 14 * 24 * 3600;
const NEWEST_SECS: i64 = 2 * 3600;

/// Every rule that a line breaks at the time `now_ms`; empty for a good one.
pub fn violations(line: &Value, now_ms: i64) -> Vec<String> {
    let mut broken = Vec::new();
    let Some(root) = line.as_object() else { return vec!["the root is no object".to_owned()] };
    let metadata = &line["_aws"];
    match metadata["Timestamp"].as_i64() {
        Some(at) if (now_ms - OLDEST_SECS * 1000..=now_ms + NEWEST_SECS * 1000).contains(&at) => {}
        Some(at) => broken.push(format!("Timestamp {at} is not in milliseconds, or out of time")),
        None => broken.push("Timestamp is no integer".to_owned()),
    }
    match metadata["CloudWatchMetrics"].as_array() {
        Some(directives) => directives.iter().for_each(|directive| check_directive(root, directive, &mut broken)),
        None => broken.push("CloudWatchMetrics is no array".to_owned()),
    }
    broken
}

/// The names of the metrics that a line carries.
pub fn metric_names(line: &Value) -> Vec<String> {
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten();
    let definitions = directives.flat_map(|directive| directive["Metrics"].as_array().into_iter().flatten());
    definitions.filter_map(|definition| definition["Name"].as_str()).map(str::to_owned).collect()
}

fn check_directive(root: &Map<String, Value>, directive: &Value, broken: &mut Vec<String>) {
    let mut require = |is_so: bool, what: String| {
        if !is_so {
            broken.push(what);
        }
    };
    let has_length = |text: &str, most: usize| (1..=most).contains(&text.chars().count());
    let namespace = directive["Namespace"].as_str().unwrap_or_default();
    require(has_length(namespace, 1024), format!("Namespace {namespace:?}"));

    let sets = directive["Dimensions"].as_array().map(Vec::as_slice).unwrap_or_default();
    require(!sets.is_empty(), "Dimensions is no array with an item".to_owned());
    for set in sets {
        let names = set.as_array().map(Vec::as_slice);
        require(names.is_some_and(|names| names.len() <= MOST_DIMENSIONS), format!("DimensionSet {set}"));
        for name in names.unwrap_or_default() {
            let name = name.as_str().unwrap_or_default();
            require(has_length(name, 250), format!("DimensionReference {name:?}"));
            let value = root.get(name).and_then(Value::as_str);
            require(
                value.is_some_and(|value| has_length(value, 1024)),
                format!("dimension {name} has no text at the root"),
            );
        }
    }

    let metrics = directive["Metrics"].as_array().map(Vec::as_slice);
    require(metrics.is_some_and(|metrics| metrics.len() <= MOST_METRICS), "Metrics".to_owned());
    for metric in metrics.unwrap_or_default() {
        let name = metric["Name"].as_str().unwrap_or_default();
        require(has_length(name, 1024), format!("metric name {name:?}"));
        let unit = metric.get("Unit").map(|unit| unit.as_str().unwrap_or_default());
        require(
            unit.is_none_or(|unit| UNITS.split('|').any(|known| known == unit)),
            format!("Unit of {name}: {unit:?}"),
        );
        let resolution = metric.get("StorageResolution").map(Value::as_i64);
        require(resolution.is_none_or(|secs| matches!(secs, Some(1 | 60))), format!("StorageResolution of {name}"));
        let is_target = match root.get(name) {
            Some(Value::Number(_)) => true,
            Some(Value::Array(values)) => values.len() <= MOST_VALUES && values.iter().all(Value::is_number),
            _ => false,
        };
        require(is_target, format!("metric {name} has no number at the root"));
    }
}

#[test]
fn the_checker_finds_each_broken_rule() {
    let now = 1_700_000_000_000_i64;
    let good = serde_json::json!({
        "_aws": {"Timestamp": now, "CloudWatchMetrics": [{
            "Namespace": "n", "Dimensions": [["Service"]], "Metrics": [{"Name": "M", "Unit": "Count", "StorageResolution": 60}],
        }]},
        "Service": "s", "M": 1.5,
    });
    assert_eq!(violations(&good, now), Vec::<String>::new());
    let breaks: [(&str, Value); 12] = [
        ("/_aws/Timestamp", (now / 1000).into()),
        ("/_aws/Timestamp", "now".into()),
        ("/_aws/CloudWatchMetrics", Value::Null),
        ("/_aws/CloudWatchMetrics/0/Namespace", "".into()),
        ("/_aws/CloudWatchMetrics/0/Dimensions", Value::Array(vec![])),
        ("/_aws/CloudWatchMetrics/0/Dimensions/0", vec!["Service"; 31].into()),
        ("/_aws/CloudWatchMetrics/0/Dimensions/0/0", "Other".into()),
        (
            "/_aws/CloudWatchMetrics/0/Metrics",
            vec![good["_aws"]["CloudWatchMetrics"][0]["Metrics"][0].clone(); 101].into(),
        ),
        ("/_aws/CloudWatchMetrics/0/Metrics/0/Unit", "Objects".into()),
        ("/_aws/CloudWatchMetrics/0/Metrics/0/StorageResolution", 5.into()),
        ("/M", "1".into()),
        ("/Service", 1.into()),
    ];
    for (place, value) in breaks {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value;
        assert_ne!(violations(&bad, now), Vec::<String>::new(), "{place}: {bad}");
    }
}
