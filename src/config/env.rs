//! Settings from the environment: `TIERD__INGEST__SCHEDULE="rate(1 hour)"`.
//!
//! A variable is text, and whether `123456789012` is a number or an account id only its key can tell. So everything
//! stays text at first, and becomes a boolean, a number or a list when its key turns out to want one ([`reread`]).
//! Tables alone are opened at once, since they must be merged key by key. The syntax is TOML's, but that strings need
//! no quotes.

use std::collections::BTreeMap;

use figment::value::{Dict, Map, Tag, Value};
use figment::{Metadata, Profile, Provider};

/// What stands before every variable that is a setting.
pub const PREFIX: &str = "TIERD__";

/// The settings that the environment holds, and which variable each came from.
#[derive(Debug, Default, Clone)]
pub struct Overrides {
    values: Dict,
    variables: BTreeMap<Vec<String>, String>,
}

/// A variable that names no key at all: (variable, what is wrong, what would be right).
pub type BadVariable = (String, String, String);

impl Overrides {
    /// Picks the settings out of an environment; other variables are not looked at.
    pub fn from_env(env: impl IntoIterator<Item = (String, String)>) -> (Self, Vec<BadVariable>) {
        let settings: BTreeMap<String, String> = env.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        let mut overrides = Self::default();
        let mut bad = Vec::new();
        for (variable, text) in settings {
            let path: Vec<String> = variable[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
            if path.iter().any(String::is_empty) {
                let right = "write TIERD__TABLE__KEY, two underscores between levels".to_owned();
                bad.push((variable, "has an empty level in its name".to_owned(), right));
                continue;
            }
            let value = element(&text);
            match insert(&mut overrides.values, &path, value) {
                Ok(()) => {
                    overrides.variables.insert(path, variable);
                }
                Err(other) => {
                    let right = "set either the one or the other".to_owned();
                    bad.push((variable, format!("is set beside {}, which holds a part of it", name_of(other)), right));
                }
            }
        }
        (overrides, bad)
    }

    /// The variable that set the key at `path` or something around it.
    pub fn variable_of(&self, path: &[String]) -> Option<&str> {
        let around = (1..=path.len()).rev().find_map(|depth| self.variables.get(&path[..depth]));
        around.map(String::as_str)
    }

    /// A variable that set something below the key at `path`, which may be a key that has nothing below it.
    pub fn variable_within(&self, path: &[String]) -> Option<&str> {
        self.variables.iter().find(|(key, _)| key.starts_with(path)).map(|(_, variable)| variable.as_str())
    }

    /// The variables that are settings, by name.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.values().map(String::as_str)
    }
}

impl Provider for Overrides {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// What a text is that was found where something else is wanted: a boolean, a number, a list or a table. None if it is
/// text and nothing else. The parts of lists and tables are text again.
pub fn reread(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Some(Value::from(split(inner)?.into_iter().map(element).collect::<Vec<Value>>()));
    }
    if let Some(dict) = table(text) {
        return Some(Value::from(dict));
    }
    let number = || text.replace('_', "");
    None.or_else(|| text.parse().ok().map(|truth| Value::Bool(Tag::Default, truth)))
        .or_else(|| number().parse::<i64>().ok().map(Value::from))
        .or_else(|| number().parse::<u64>().ok().map(Value::from))
        .or_else(|| number().parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::from))
}

fn name_of(path: Vec<String>) -> String {
    format!("{PREFIX}{}", path.join("__").to_ascii_uppercase())
}

/// Puts `value` at `path`, or answers which path is in the way.
fn insert(dict: &mut Dict, path: &[String], value: Value) -> Result<(), Vec<String>> {
    let (first, rest) = path.split_first().expect("a path has at least one segment, `split` gives one");
    if rest.is_empty() {
        return match dict.insert(first.clone(), value) {
            None => Ok(()),
            Some(_) => Err(path.to_vec()),
        };
    }
    match dict.entry(first.clone()).or_insert_with(|| Value::from(Dict::new())) {
        Value::Dict(_, inner) => insert(inner, rest, value).map_err(|mut other| {
            other.insert(0, first.clone());
            other
        }),
        _ => Err(vec![first.clone()]),
    }
}

/// `{ key = value, … }`, or None. A template like `{user_id}` is no table, for want of a `=`.
fn table(text: &str) -> Option<Dict> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    split(inner)?
        .into_iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let key = unquote(key.trim());
            let name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            (!key.is_empty() && key.chars().all(name)).then(|| (key.to_owned(), element(value)))
        })
        .collect()
}

fn element(text: &str) -> Value {
    let text = text.trim();
    table(text).map_or_else(|| Value::from(unquote(text)), Value::from)
}

fn unquote(text: &str) -> &str {
    let quoted = |quote| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(text)
}

/// At the commas that are in no string and in no bracket; a last comma is forgiven. None if a bracket is not closed.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0_i32, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(&text[start..]);
    }
    (depth == 0 && quote.is_none()).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> (Overrides, Vec<BadVariable>) {
        Overrides::from_env(pairs.iter().map(|(name, text)| (name.to_string(), text.to_string())))
    }

    #[test]
    fn only_variables_with_the_prefix_are_settings() {
        let (overrides, bad) = env(&[("TIERD_CONFIG", "x"), ("PATH", "y"), ("TIERD__AWS__REGION", "us-east-1")]);
        assert!(bad.is_empty());
        assert_eq!(overrides.variables().collect::<Vec<_>>(), ["TIERD__AWS__REGION"]);
        assert_eq!(overrides.values["aws"].as_dict().expect("a table")["region"].as_str(), Some("us-east-1"));
    }

    #[test]
    fn a_variable_and_a_part_of_it_cannot_both_be_text() {
        let (_, bad) = env(&[("TIERD__AWS", "x"), ("TIERD__AWS__REGION", "us-east-1"), ("TIERD____X", "1")]);
        assert_eq!(bad.len(), 2, "{bad:?}");
        let (overrides, bad) = env(&[("TIERD__AWS", "{profile = p}"), ("TIERD__AWS__REGION", "us-east-1")]);
        assert!(bad.is_empty(), "{bad:?}");
        assert_eq!(overrides.values["aws"].as_dict().expect("a table").len(), 2);
    }

    #[test]
    fn text_is_reread_as_what_it_looks_like() {
        assert_eq!(reread("true").and_then(|v| v.to_bool()), Some(true));
        assert_eq!(reread("-3").and_then(|v| v.to_i128()), Some(-3));
        assert_eq!(reread("1_000").and_then(|v| v.to_i128()), Some(1000));
        assert_eq!(reread("0.5").and_then(|v| v.to_num()).and_then(|n| n.to_f64()), Some(0.5));
        for text in ["rate(1 hour)", "30s", "", "nan", "{user_id}", "{"] {
            assert_eq!(reread(text), None, "{text}");
        }
    }

    #[test]
    fn the_parts_of_lists_stay_text() {
        let list = reread(r#"[012345678901, "a, b", {kind = "x", prefix = 7},]"#).expect("a list");
        let list = list.as_array().expect("a list").to_vec();
        assert_eq!(list[0].as_str(), Some("012345678901"));
        assert_eq!(list[1].as_str(), Some("a, b"));
        assert_eq!(list[2].as_dict().expect("a table")["prefix"].as_str(), Some("7"));
        assert_eq!(list.len(), 3);
        assert_eq!(reread("[]").and_then(Value::into_array).map(|list| list.len()), Some(0));
        assert_eq!(reread("[a, [b]"), None);
    }
}
