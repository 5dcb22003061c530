//! Settings as TOML text, for `check` to print.
//!
//! The program's one need is to write its own settings, whose names are bare keys and whose values are text, numbers,
//! booleans, lists and tables; that does not ask for a TOML library.

use serde_json::{Map, Value};

use super::Settings;

/// Every key that has a value; tables after the keys that stand before them.
pub(super) fn to_toml(settings: &Settings) -> String {
    let value = serde_json::to_value(settings).expect("settings are plain data with text keys");
    let mut out = String::new();
    if let Value::Object(root) = &value {
        write_table(&mut out, "", root);
    }
    out
}

fn write_table(out: &mut String, path: &str, table: &Map<String, Value>) {
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let (tables, values): (Vec<_>, Vec<_>) =
        table.iter().filter(|(_, value)| !value.is_null()).partition(|(_, value)| is_table(value));
    for (key, value) in values {
        out.push_str(&format!("{key} = {}\n", inline(value)));
    }
    for (key, value) in tables {
        match value {
            Value::Object(inner) => {
                let blank = if path.is_empty() && !out.is_empty() { "\n" } else { "" };
                out.push_str(&format!("{blank}[{}]\n", at(key)));
                write_table(out, &at(key), inner);
            }
            Value::Array(list) => {
                for inner in list.iter().filter_map(Value::as_object) {
                    out.push_str(&format!("[[{}]]\n", at(key)));
                    write_table(out, &at(key), inner);
                }
            }
            _ => {}
        }
    }
}

fn is_table(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(list) => !list.is_empty() && list.iter().all(Value::is_object),
        _ => false,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Array(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A basic string (TOML 1.0, "String"): quotes, backslashes and control characters escaped.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
