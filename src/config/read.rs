//! From text to [`Settings`], noting everything that cannot be read.
//!
//! serde stops at the first value that does not fit. So a value that does not fit is noted, taken out of the merged
//! tree (its default comes back, where there is one) and the rest is read again, until it all fits.

use std::collections::{BTreeMap, BTreeSet};

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};
use serde::Deserialize;

use super::env::{self, Overrides};
use super::{DEFAULT_TOML, Settings, nearest};

/// Something wrong at a key, or at where a key should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// Elements of lists have their index, from 0, as a segment.
    pub path: Vec<String>,
    pub wrong: String,
    pub right: String,
}

/// What could not be read.
#[derive(Debug, Default)]
pub(super) struct Broken {
    pub findings: Vec<Finding>,
    /// Paths that were taken out or put back to their defaults.
    mended: Vec<Vec<String>>,
    /// Elements that were taken out of lists: list → indices, both as the user counts them.
    dropped: BTreeMap<Vec<String>, BTreeSet<usize>>,
}

/// A text that is no TOML.
pub(super) struct SyntaxError {
    pub line: Option<usize>,
    pub message: String,
}

/// Fails if `text` is no TOML. The message never quotes the text.
pub(super) fn check_syntax(text: &str) -> Result<(), SyntaxError> {
    let Err(error) = Figment::from(Toml::string(text)).extract::<Dict>() else {
        return Ok(());
    };
    let report = match error.kind {
        Kind::Message(message) => message,
        other => other.to_string(),
    };
    let line = report
        .split_once("at line ")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok());
    // The parser's report is a headline, the line quoted with marks, and last the reasons.
    let reasons: Vec<&str> =
        report.lines().skip(1).map(str::trim).filter(|row| !row.is_empty() && !row.contains('|')).collect();
    let reasons = if reasons.is_empty() { "the TOML parser gives no reason".to_owned() } else { reasons.join(", ") };
    Err(SyntaxError { line, message: format!("is no TOML: {reasons}") })
}

/// Reads the defaults with `text` (valid TOML) and `overrides` merged in. None if nothing can be made of it even
/// after mending.
pub(super) fn read(text: &str, overrides: &Overrides) -> (Option<Settings>, Broken) {
    let defaults = Figment::from(Toml::string(DEFAULT_TOML));
    let merged = defaults.clone().merge(Toml::string(text)).merge(overrides.clone());
    let mut broken = Broken::default();
    let (defaults, mut tree) = match (defaults.extract::<Value>(), merged.extract::<Value>()) {
        (Ok(defaults), Ok(tree)) => (defaults, tree),
        (Err(error), _) | (_, Err(error)) => {
            let right = "write it as config/default.toml shows".to_owned();
            broken.findings.push(Finding { path: error.path, wrong: error.kind.to_string(), right });
            return (None, broken);
        }
    };
    loop {
        let error = match Settings::deserialize(&tree) {
            Ok(settings) => return (Some(settings), broken),
            Err(error) => error,
        };
        if reread_variable(&mut tree, &error, overrides, &broken) {
            continue;
        }
        broken.note(&error);
        if !broken.mend(&mut tree, &defaults, &error.path) {
            return (None, broken);
        }
    }
}

/// A text from the environment that was met where something else is wanted may be that something.
fn reread_variable(tree: &mut Value, error: &figment::Error, overrides: &Overrides, broken: &Broken) -> bool {
    let wants_other = matches!(error.kind, Kind::InvalidType(Actual::Str(_), _));
    if !wants_other || overrides.variable_of(&broken.original(&error.path)).is_none() {
        return false;
    }
    let Some(place) = find(tree, &error.path) else { return false };
    match place.as_str().and_then(env::reread) {
        Some(value) => {
            *place = value;
            true
        }
        None => false,
    }
}

impl Broken {
    /// The path as the user counts it, of a path into what was mended.
    pub fn original(&self, path: &[String]) -> Vec<String> {
        let mut original: Vec<String> = Vec::with_capacity(path.len());
        for segment in path {
            let shifted = match (self.dropped.get(&original), segment.parse::<usize>()) {
                (Some(dropped), Ok(index)) => {
                    // Ascending, so that each that was dropped before moves the index on by one.
                    let index =
                        dropped.iter().fold(index, |index, gone| if *gone <= index { index + 1 } else { index });
                    index.to_string()
                }
                _ => segment.clone(),
            };
            original.push(shifted);
        }
        original
    }

    /// Whether `path` was mended, or something around it or within it.
    pub fn touches(&self, path: &[String]) -> bool {
        self.mended.iter().any(|mended| mended.starts_with(path) || path.starts_with(mended))
    }

    fn note(&mut self, error: &figment::Error) {
        let mut path = self.original(&error.path);
        let (wrong, right) = match &error.kind {
            Kind::MissingField(field) => {
                path.push(field.to_string());
                if self.touches(&path) {
                    // It was there, and has been reported for what it is.
                    return;
                }
                ("is missing".to_owned(), format!("set `{field}`"))
            }
            Kind::UnknownField(field, known) => {
                let table = path[..path.len().saturating_sub(1)].join(".");
                let wrong = if table.is_empty() { "is no table".to_owned() } else { format!("is no key of [{table}]") };
                let right = match nearest(field, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", known.join(", ")),
                };
                (wrong, right)
            }
            Kind::InvalidType(actual, wanted) | Kind::InvalidValue(actual, wanted) => {
                (format!("is {}", describe(actual)), format!("write {}", describe_wanted(wanted)))
            }
            Kind::Message(message) => match message.split_once("; ") {
                Some((wrong, right)) => (wrong.to_owned(), right.to_owned()),
                None => (message.clone(), "see config/default.toml for what may stand here".to_owned()),
            },
            other => (other.to_string(), "see config/default.toml for what may stand here".to_owned()),
        };
        self.findings.push(Finding { path, wrong, right });
    }

    /// Puts what is at `path` back to its default, or takes it out. False if there is nothing to take out.
    fn mend(&mut self, tree: &mut Value, defaults: &Value, path: &[String]) -> bool {
        let Some((last, parent_path)) = path.split_last() else { return false };
        let original = self.original(path);
        // The elements of a list in the file have nothing to do with those of the default list.
        let in_list = path.iter().any(|segment| segment.bytes().all(|b| b.is_ascii_digit()));
        let default = if in_list { None } else { default_at(defaults, path).cloned() };
        let Some(parent) = find(tree, parent_path) else { return false };
        let mended = match (parent, default) {
            (Value::Dict(_, dict), Some(default)) => dict.insert(last.clone(), default.clone()) != Some(default),
            (Value::Dict(_, dict), None) => dict.remove(last).is_some(),
            (Value::Array(_, list), _) => match last.parse::<usize>() {
                Ok(index) if index < list.len() => {
                    list.remove(index);
                    let at = original.last().and_then(|segment| segment.parse().ok()).unwrap_or(index);
                    self.dropped.entry(original[..original.len() - 1].to_vec()).or_default().insert(at);
                    true
                }
                _ => false,
            },
            _ => false,
        };
        self.mended.push(original);
        mended
    }
}

fn find<'a>(tree: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(tree, |value, segment| match value {
        Value::Dict(_, dict) => dict.get_mut(segment),
        Value::Array(_, list) => segment.parse::<usize>().ok().and_then(|index| list.get_mut(index)),
        _ => None,
    })
}

fn default_at<'a>(defaults: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(defaults, |value, segment| value.as_dict()?.get(segment))
}

fn describe(actual: &Actual) -> String {
    match actual {
        Actual::Bool(truth) => truth.to_string(),
        Actual::Unsigned(number) => format!("the number {number}"),
        Actual::Signed(number) => format!("the number {number}"),
        Actual::Float(number) => format!("the number {number}"),
        // A URL in the wrong place may hold a password.
        Actual::Str(text) if text.contains("://") => "a URL".to_owned(),
        Actual::Str(text) => format!("the text {text:?}"),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// serde names types as Rust does.
fn describe_wanted(wanted: &str) -> String {
    match wanted {
        "a string" | "path string" => "a text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not below 0".to_owned(),
        "f64" => "a number".to_owned(),
        "a sequence" => "a list, in [ and ]".to_owned(),
        wanted if wanted.starts_with("struct ") => "a table".to_owned(),
        wanted => wanted.to_owned(),
    }
}
