//! The price tables: those that come with the program, by region, and a user's own.
//!
//! The tables are data ([`Prices`], `config/prices/*.toml`), embedded so that the daemon needs no file beside it. A region
//! without one is reckoned at the default region's prices: classes keep their order everywhere, so decisions stay right and
//! only figures are off. Whoever shows figures says so ([`PriceList::warning`]). A user's file has the same form and stands in
//! for the table; it is read anew by every run, so that new prices need no restart.

use std::fmt;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use figment::Figment;
use figment::providers::{Format, Toml};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::tiering::cost::Prices;

/// Whose prices hold for a region that has no table.
pub const DEFAULT_REGION: &str = "us-east-1";

const TABLES: [(&str, &str); 3] = [
    (DEFAULT_REGION, include_str!("../config/prices/us-east-1.toml")),
    ("ap-northeast-1", include_str!("../config/prices/ap-northeast-1.toml")),
    ("ap-northeast-2", include_str!("../config/prices/ap-northeast-2.toml")),
];

/// A region's prices, or the nearest there are.
#[derive(Debug, Clone, PartialEq)]
pub struct PriceList {
    pub prices: Prices,
    asked_for: String,
    /// The user's own file, if the prices are from one.
    file: Option<PathBuf>,
}

/// Why a price file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PriceFileError {
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// No TOML at all, and why.
    #[error("{}: {problem}", path.display())]
    Syntax { path: PathBuf, problem: String },
    /// All that is wrong with it.
    #[error("{}", .problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect::<Vec<_>>().join("\n"))]
    Wrong { path: PathBuf, problems: Vec<PriceProblem> },
}

/// One thing that is wrong in a price file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceProblem {
    /// `classes.GLACIER_IR.put_per_1000`.
    pub key: String,
    pub wrong: String,
    pub right: String,
}

impl fmt::Display for PriceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key `{}`: {}; {}", self.key, self.wrong, self.right)
    }
}

impl PriceList {
    /// The prices of `region`, else those of [`DEFAULT_REGION`].
    pub fn of_region(region: &str) -> Self {
        let (_, table) = TABLES.iter().find(|(name, _)| *name == region).unwrap_or(&TABLES[0]);
        let prices = Figment::from(Toml::string(table)).extract().expect("every embedded table is read by a test");
        Self { prices, asked_for: region.to_owned(), file: None }
    }

    /// The prices in `file`, which has the form of `config/prices/us-east-1.toml`, for buckets in `region`. Fails with all
    /// that is wrong with it at once.
    pub fn of_file(file: &Path, region: &str) -> Result<Self, PriceFileError> {
        let path = || file.to_owned();
        let text =
            std::fs::read_to_string(file).map_err(|source| PriceFileError::Unreadable { path: path(), source })?;
        let read = Figment::from(Toml::string(&text)).extract::<Value>();
        let tree = read.map_err(|error| PriceFileError::Syntax {
            path: path(),
            problem: format!("is no TOML: {}", one_line(&error.to_string())),
        })?;
        let problems = check(&tree);
        if !problems.is_empty() {
            return Err(PriceFileError::Wrong { path: path(), problems });
        }
        let prices = serde_json::from_value(tree)
            .map_err(|error| PriceFileError::Syntax { path: path(), problem: error.to_string() })?;
        Ok(Self { prices, asked_for: region.to_owned(), file: Some(path()) })
    }

    /// Why the figures may be off: another region's prices, or prices over a year old. None if neither holds.
    pub fn warning(&self, today: NaiveDate) -> Option<String> {
        let Prices { region, as_of, .. } = &self.prices;
        if *region != self.asked_for {
            let asked_for = &self.asked_for;
            return Some(match &self.file {
                Some(file) => format!(
                    "{} holds the prices of {region:?}, and aws.region is {asked_for:?}, so take the amounts as a rough guide",
                    file.display()
                ),
                None => format!(
                    "there are no prices for {asked_for:?}: these are the prices of {region}, so take the amounts as a rough \
                     guide, or name a table of your own in transition.prices_file"
                ),
            });
        }
        self.prices.is_stale(today).then(|| match &self.file {
            Some(file) => format!("the prices in {} are of {as_of}, over a year old", file.display()),
            None => {
                format!("the prices are of {as_of}, over a year old; newer ones can be named in transition.prices_file")
            }
        })
    }
}

/// All that is wrong with a table, against the form of the default one.
fn check(tree: &Value) -> Vec<PriceProblem> {
    let form = serde_json::to_value(PriceList::of_region(DEFAULT_REGION).prices).expect("prices are plain data");
    let mut problems = Vec::new();
    match tree {
        Value::Object(table) => check_table("", &form, table, &mut problems),
        _ => unreachable!("a TOML document is a table"),
    }
    problems
}

fn check_table(path: &str, form: &Value, table: &Map<String, Value>, problems: &mut Vec<PriceProblem>) {
    let empty = Map::new();
    let known = form.as_object().unwrap_or(&empty);
    let key = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, form) in known {
        match table.get(name) {
            Some(value) => check_value(key(name), form, value, problems),
            None if is_optional(path, name) => {}
            None => {
                let right = match form {
                    Value::Object(_) => "write the table as config/prices/us-east-1.toml has it".to_owned(),
                    Value::Number(_) => "write the price in US dollars, 0 or more".to_owned(),
                    _ => format!("write a text like {form}"),
                };
                problems.push(PriceProblem { key: key(name), wrong: "is missing".to_owned(), right });
            }
        }
    }
    for name in table.keys().filter(|name| !known.contains_key(*name)) {
        let names = known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        problems.push(PriceProblem {
            key: key(name),
            wrong: "is no key of a price table".to_owned(),
            right: format!("there are {names}"),
        });
    }
}

/// What only some classes have: a price for reading, an expedited restore.
fn is_optional(path: &str, name: &str) -> bool {
    (path.starts_with("classes.") && name == "retrieval_gb") || (path == "restore.GLACIER" && name == "expedited")
}

fn check_value(key: String, form: &Value, value: &Value, problems: &mut Vec<PriceProblem>) {
    let mut wrong = |wrong: String, right: &str| {
        problems.push(PriceProblem { key: key.clone(), wrong, right: right.to_owned() });
    };
    match (form, value) {
        (Value::Object(_), Value::Object(table)) => check_table(&key, form, table, problems),
        (Value::Object(_), other) => wrong(format!("is {other}"), "write a table"),
        (Value::Number(_), Value::Number(price)) if price.as_f64().is_some_and(|p| p >= 0.0) => {}
        (Value::Number(_), Value::Null) => wrong("is no finite number".to_owned(), "write a price of 0 or more"),
        (Value::Number(_), other) => wrong(format!("is {other}"), "write a price of 0 or more, in US dollars"),
        (_, Value::String(text)) => match key.as_str() {
            "currency" if text != "USD" => {
                wrong(
                    format!("is {text:?}"),
                    "write the prices in US dollars, and \"USD\": all amounts are shown as dollars",
                );
            }
            "as_of" if text.parse::<NaiveDate>().is_err() => {
                wrong(
                    format!("{text:?} is no day"),
                    "write the day on which the prices were right, like \"2026-08-01\"",
                );
            }
            _ if text.trim().is_empty() => wrong("is empty".to_owned(), "write a text"),
            _ => {}
        },
        (_, _) => wrong("is no text".to_owned(), "write a text in quotes"),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: i32) -> NaiveDate {
        NaiveDate::from_ymd_opt(year, 9, 1).unwrap()
    }

    fn read(text: &str) -> Result<PriceList, PriceFileError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prices.toml");
        std::fs::write(&file, text).unwrap();
        PriceList::of_file(&file, DEFAULT_REGION)
    }

    #[test]
    fn every_table_is_that_of_its_region() {
        for (region, table) in TABLES {
            let list = PriceList::of_region(region);
            assert_eq!(list.prices.region, region);
            assert_eq!(list.warning(day(2026)), None);
            assert!(list.warning(day(2030)).unwrap().contains("over a year old"));
            assert_eq!(check(&Figment::from(Toml::string(table)).extract().unwrap()), [], "{region}");
        }
    }

    #[test]
    fn a_region_without_a_table_gets_the_default_prices_and_a_warning() {
        let list = PriceList::of_region("eu-north-7");
        assert_eq!(list.prices.region, DEFAULT_REGION);
        let warning = list.warning(day(2026)).unwrap();
        assert!(warning.contains("eu-north-7") && warning.contains("us-east-1"), "{warning}");
        assert!(warning.contains("transition.prices_file"), "{warning}");
    }

    #[test]
    fn a_users_own_table_stands_in_for_the_regions() {
        let table = TABLES[0].1.replace("storage_gb_month = 0.0125", "storage_gb_month = 0.01");
        let list = read(&table).unwrap();
        assert_eq!(list.prices.classes.standard_ia.storage_gb_month, 0.01);
        assert_eq!(list.warning(day(2026)), None);
        let elsewhere = read(&table.replace("region = \"us-east-1\"", "region = \"eu-north-1\"")).unwrap();
        let warning = elsewhere.warning(day(2026)).unwrap();
        assert!(warning.contains("eu-north-1") && warning.contains("prices.toml"), "{warning}");
        let old = read(&table.replace("2026-08-01", "2024-08-01")).unwrap().warning(day(2026)).unwrap();
        assert!(old.contains("prices.toml are of 2024-08-01"), "{old}");
    }

    #[test]
    fn everything_that_is_wrong_with_a_table_is_named_at_once_with_the_mend() {
        let table = TABLES[0]
            .1
            .replace("[classes.GLACIER_IR]", "[classes.GLACIER_FAST]")
            .replace("put_per_1000 = 0.05", "put_per_1000 = -0.05")
            .replace("infrequent_gb_month = 0.0125", "infrequent_gb_month = \"cheap\"")
            .replace("per_1000 = 10.0", "per_1000 = inf")
            .replace("as_of = \"2026-08-01\"", "as_of = \"August\"")
            .replace("currency = \"USD\"", "currency = \"KRW\"");
        let error = read(&table).unwrap_err().to_string();
        for expected in [
            "prices.toml: key `classes.GLACIER_IR`: is missing; write the table",
            "key `classes.GLACIER_FAST`: is no key of a price table; there are STANDARD,",
            "key `classes.DEEP_ARCHIVE.put_per_1000`: is -0.05; write a price of 0 or more",
            "key `intelligent_tiering.infrequent_gb_month`: is \"cheap\"; write a price",
            "key `restore.GLACIER.expedited.per_1000`: is no finite number",
            "key `as_of`: \"August\" is no day; write the day",
            "key `currency`: is \"KRW\"; write the prices in US dollars",
        ] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
        assert_eq!(error.lines().count(), 7, "{error}");
        for (text, expected) in [
            (String::new(), "key `classes`: is missing"),
            ("region = ".to_owned(), "is no TOML"),
            (TABLES[0].1.replace("per_gb = 0.02\n", "\n"), "`restore.DEEP_ARCHIVE.standard.per_gb`: is missing"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = PriceList::of_file(Path::new("/nowhere/prices.toml"), "us-east-1").unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/prices.toml: "), "{error}");
    }
}
