//! The price tables that come with the program, by region.
//!
//! The tables are data ([`Prices`], `config/prices/*.toml`), embedded so that the daemon needs no file beside it. A region
//! without one is reckoned at the default region's prices: classes keep their order everywhere, so decisions stay right and
//! only figures are off. Whoever shows figures says so ([`PriceList::warning`]).

use chrono::NaiveDate;
use figment::Figment;
use figment::providers::{Format, Toml};

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
}

impl PriceList {
    /// The prices of `region`, else those of [`DEFAULT_REGION`].
    pub fn of_region(region: &str) -> Self {
        let (_, table) = TABLES.iter().find(|(name, _)| *name == region).unwrap_or(&TABLES[0]);
        let prices = Figment::from(Toml::string(table)).extract().expect("every embedded table is read by a test");
        Self { prices, asked_for: region.to_owned() }
    }

    /// Why the figures may be off: another region's prices, or prices over a year old. None if neither holds.
    pub fn warning(&self, today: NaiveDate) -> Option<String> {
        let Prices { region, as_of, .. } = &self.prices;
        if *region != self.asked_for {
            return Some(format!(
                "there are no prices for {:?}: these are the prices of {region}, so take the amounts as a rough guide",
                self.asked_for
            ));
        }
        self.prices.is_stale(today).then(|| format!("the prices are of {as_of}, over a year old"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: i32) -> NaiveDate {
        NaiveDate::from_ymd_opt(year, 9, 1).unwrap()
    }

    #[test]
    fn every_table_is_that_of_its_region() {
        for (region, _) in TABLES {
            let list = PriceList::of_region(region);
            assert_eq!(list.prices.region, region);
            assert_eq!(list.warning(day(2026)), None);
            assert!(list.warning(day(2030)).unwrap().contains("over a year old"));
        }
    }

    #[test]
    fn a_region_without_a_table_gets_the_default_prices_and_a_warning() {
        let list = PriceList::of_region("eu-north-7");
        assert_eq!(list.prices.region, DEFAULT_REGION);
        let warning = list.warning(day(2026)).unwrap();
        assert!(warning.contains("eu-north-7") && warning.contains("us-east-1"), "{warning}");
    }
}
