//! The price tables that are built into the program, one a region, and a user's own.

use anyhow::{Context, Result};
use figment::Figment;
use figment::providers::{Format as _, Toml};

use crate::tiering::cost::Prices;

/// Whose prices stand in where a region has no table: the lowest, so that a saving is not promised where there is none.
const FALLBACK_REGION: &str = "us-east-1";

const TABLES: [(&str, &str); 3] = [
    ("us-east-1", include_str!("../config/prices/us-east-1.toml")),
    ("ap-northeast-1", include_str!("../config/prices/ap-northeast-1.toml")),
    ("ap-northeast-2", include_str!("../config/prices/ap-northeast-2.toml")),
];

/// The prices of `region`, or those of us-east-1 where the program has none of it.
pub fn of_region(region: &str) -> Result<Prices> {
    let table = |name: &str| TABLES.iter().find(|(region, _)| *region == name).map(|(_, text)| *text);
    let text = table(region).or_else(|| {
        tracing::warn!(
            event = "prices.fallback",
            region,
            used = FALLBACK_REGION,
            "there is no price table of this region; another one's is used"
        );
        table(FALLBACK_REGION)
    });
    read(text.context("the program has lost its price tables")?)
}

fn read(text: &str) -> Result<Prices> {
    Figment::from(Toml::string(text)).extract().context("reading a price table")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_can_be_read_and_is_of_its_region() {
        for (region, _) in TABLES {
            assert_eq!(of_region(region).unwrap().region, region);
        }
        assert_eq!(of_region("eu-nowhere-9").unwrap().region, FALLBACK_REGION);
    }
}
