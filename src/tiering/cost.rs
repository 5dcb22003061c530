//! What storing an object costs, what moving it costs, and when a move has paid for itself.
//!
//! Prices are data ([`Prices`], a file a region under `config/prices/`, with date and source); the rules by which S3 bills are
//! here: floors, overheads, durations. The rules are those of the S3 pricing page and its footnotes, and for copies of
//! CopyObject's reference ("Charges": the destination class's request, and the source class's retrieval).
//!
//! Only what a move changes is counted. Reads by users are not: how often an object will be read is for a policy to say.
//! Every figure is US dollars; a GB is 2^30 bytes, as S3 bills; a month is a billing month, and 30 days where S3 prorates a
//! minimum duration.
//!
//! A move from class A to class B costs once: the copy's requests at B's price, the retrieval out of A by the gigabyte, for
//! an archive the restore and its temporary copy, and the rest of A's minimum duration. It saves each month what A costs
//! above B. It pays back after cost / saving months, and never if it saves nothing.

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Deserializer, Serialize};

use super::storage_class::{Move, StorageClass};

/// Bytes in what S3 bills as a GB.
pub const BYTES_PER_GB: f64 = (1_u64 << 30) as f64;

/// Days in a month, where S3 prorates a minimum duration.
const DAYS_PER_MONTH: f64 = 30.0;

/// Objects below this are not monitored by Intelligent-Tiering: they pay no fee and stay in its frequent access tier.
const MONITORED_FROM_BYTES: u64 = 128 * 1024;

/// The price table of one region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub region: String,
    pub currency: String,
    /// The day on which the prices were right.
    pub as_of: NaiveDate,
    pub source: String,
    pub classes: ClassTable,
    pub intelligent_tiering: IntelligentTieringPrices,
    pub restore: RestoreTable,
}

/// The prices of every class; a table that lacks one cannot be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "SCREAMING_SNAKE_CASE")]
pub struct ClassTable {
    pub standard: ClassPrices,
    pub intelligent_tiering: ClassPrices,
    pub standard_ia: ClassPrices,
    pub onezone_ia: ClassPrices,
    pub glacier_ir: ClassPrices,
    pub glacier: ClassPrices,
    pub deep_archive: ClassPrices,
    pub reduced_redundancy: ClassPrices,
}

/// What one class costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassPrices {
    /// The first price band, by GB and month.
    #[serde(deserialize_with = "price")]
    pub storage_gb_month: f64,
    /// 1,000 PUT, COPY or POST requests into the class.
    #[serde(deserialize_with = "price")]
    pub put_per_1000: f64,
    /// 1,000 GET requests.
    #[serde(deserialize_with = "price")]
    pub get_per_1000: f64,
    /// A GB read, where reading is priced and no restore comes first.
    #[serde(default, deserialize_with = "price")]
    pub retrieval_gb: f64,
}

/// What Intelligent-Tiering costs beyond its frequent access tier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntelligentTieringPrices {
    #[serde(deserialize_with = "price")]
    pub infrequent_gb_month: f64,
    #[serde(deserialize_with = "price")]
    pub archive_instant_gb_month: f64,
    #[serde(deserialize_with = "price")]
    pub monitoring_per_1000_month: f64,
}

/// What restores cost, by class and tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "SCREAMING_SNAKE_CASE")]
pub struct RestoreTable {
    pub glacier: RestorePrices,
    pub deep_archive: RestorePrices,
}

/// What restores out of one class cost. DEEP_ARCHIVE has no expedited tier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestorePrices {
    pub standard: TierPrices,
    pub bulk: TierPrices,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expedited: Option<TierPrices>,
}

/// What a restore of one tier costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierPrices {
    #[serde(deserialize_with = "price")]
    pub per_1000: f64,
    #[serde(deserialize_with = "price")]
    pub per_gb: f64,
}

/// How urgently an archived object is restored, for its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestoreSpeed {
    Expedited,
    Standard,
    Bulk,
}

fn price<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(serde::de::Error::custom(format!("a price is 0 or more, not {value}")))
    }
}

/// An object as its storage is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub class: StorageClass,
    pub bytes: u64,
    /// Whole days since the object was last read or came into its class, whichever is later: Intelligent-Tiering bills less
    /// after 30 and after 90. Of no matter in the other classes.
    pub idle_days: u64,
}

/// A move whose price is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MoveQuestion {
    pub from: Stored,
    pub to: StorageClass,
    /// Whole days in the present class, for its minimum duration; None is taken as long enough.
    pub days_in_class: Option<u64>,
    /// Requests that the copy takes: 1, or parts and 2 more for a copy in parts.
    pub copy_requests: u64,
    /// How an archived object is restored first.
    pub restore: RestoreSpeed,
    /// For how many days its temporary copy is kept.
    pub restore_days: u32,
}

/// What a move costs and saves, in US dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MoveCost {
    /// The copy's requests.
    pub requests_usd: f64,
    /// Reading the object out of its class.
    pub retrieval_usd: f64,
    /// The restore of an archived object, and its temporary copy.
    pub restore_usd: f64,
    /// The rest of the present class's minimum duration, which is billed whether the object stays or not.
    pub early_deletion_usd: f64,
    /// What storage costs less each month; negative where it costs more.
    pub monthly_saving_usd: f64,
}

impl MoveCost {
    /// Everything that is paid once.
    pub fn one_off_usd(&self) -> f64 {
        self.requests_usd + self.retrieval_usd + self.restore_usd + self.early_deletion_usd
    }

    /// Months until the move has paid for itself; None when it never does.
    pub fn months_to_break_even(&self) -> Option<f64> {
        months_to_break_even(self.one_off_usd(), self.monthly_saving_usd)
    }

    /// What the move has brought in after `months`, less what it cost.
    pub fn net_saving_usd(&self, months: f64) -> f64 {
        self.monthly_saving_usd * months - self.one_off_usd()
    }
}

/// Months until `one_off_usd` is earned back by `monthly_saving_usd`; None when there is no saving.
pub fn months_to_break_even(one_off_usd: f64, monthly_saving_usd: f64) -> Option<f64> {
    (monthly_saving_usd > 0.0).then(|| one_off_usd / monthly_saving_usd)
}

impl Prices {
    /// The prices of a class; None for one that tierd does not manage.
    pub fn class(&self, class: StorageClass) -> Option<&ClassPrices> {
        let table = &self.classes;
        Some(match class {
            StorageClass::Standard => &table.standard,
            StorageClass::IntelligentTiering => &table.intelligent_tiering,
            StorageClass::StandardIa => &table.standard_ia,
            StorageClass::OnezoneIa => &table.onezone_ia,
            StorageClass::GlacierIr => &table.glacier_ir,
            StorageClass::Glacier => &table.glacier,
            StorageClass::DeepArchive => &table.deep_archive,
            StorageClass::ReducedRedundancy => &table.reduced_redundancy,
            StorageClass::Unmanaged => return None,
        })
    }

    /// Whether the table is more than a year old on `today`.
    pub fn is_stale(&self, today: NaiveDate) -> bool {
        self.as_of + Days::new(365) < today
    }

    /// What storing the object costs a month, with the floor, the overheads and the monitoring fee of its class. None for a
    /// class without a price.
    pub fn monthly_storage_usd(&self, object: Stored) -> Option<f64> {
        let standard_overhead = gb(object.class.overhead_bytes().1) * self.classes.standard.storage_gb_month;
        Some(self.at_own_price_usd(object)? + standard_overhead + self.monthly_monitoring_usd(object))
    }

    /// What of [`Prices::monthly_storage_usd`] is Intelligent-Tiering's monitoring fee.
    pub fn monthly_monitoring_usd(&self, object: Stored) -> f64 {
        if is_monitored(object) { self.intelligent_tiering.monitoring_per_1000_month / 1000.0 } else { 0.0 }
    }

    /// What reading costs: (the requests, the retrieval by the gigabyte). `bytes` are those that the reads carry together. 0
    /// for a class without a price. A restore that must come first is not in it.
    pub fn read_usd(&self, class: StorageClass, reads: u64, bytes: u64) -> (f64, f64) {
        self.class(class)
            .map_or((0.0, 0.0), |prices| (reads as f64 * prices.get_per_1000 / 1000.0, gb(bytes) * prices.retrieval_gb))
    }

    /// The rest of a class's minimum duration after `days_in_class` (None is taken as long enough), which is billed whether the
    /// object stays or not. None for a class without a price.
    pub fn early_deletion_usd(&self, object: Stored, days_in_class: Option<u64>) -> Option<f64> {
        let left = u64::from(object.class.minimum_days()).saturating_sub(days_in_class.unwrap_or(u64::MAX));
        Some(left as f64 / DAYS_PER_MONTH * self.at_own_price_usd(object)?)
    }

    /// What a move costs and saves. None where a class has no price, or the restore tier does not exist for it.
    ///
    /// An object that comes into Intelligent-Tiering is reckoned in its frequent access tier: whether it will go cold there
    /// is what that class is to find out.
    pub fn move_cost(&self, question: &MoveQuestion) -> Option<MoveCost> {
        let MoveQuestion { from, to, .. } = *question;
        let into = Stored { class: to, bytes: from.bytes, idle_days: 0 };
        let size_gb = gb(from.bytes);
        let restore_usd = match from.class.move_to(to) {
            Move::RestoreThenCopy => {
                let tier = self.restore_tier(from.class, question.restore)?;
                let temporary_months = f64::from(question.restore_days) / DAYS_PER_MONTH;
                tier.per_1000 / 1000.0
                    + size_gb * (tier.per_gb + temporary_months * self.classes.standard.storage_gb_month)
            }
            Move::None | Move::Copy | Move::Impossible => 0.0,
        };
        Some(MoveCost {
            requests_usd: question.copy_requests as f64 * self.class(to)?.put_per_1000 / 1000.0,
            retrieval_usd: size_gb * self.class(from.class)?.retrieval_gb,
            restore_usd,
            early_deletion_usd: self.early_deletion_usd(from, question.days_in_class)?,
            monthly_saving_usd: self.monthly_storage_usd(from)? - self.monthly_storage_usd(into)?,
        })
    }

    /// The class in which an object of `bytes` that nobody reads is stored for the least.
    pub fn cheapest_at_rest(&self, bytes: u64) -> StorageClass {
        let cost = |class: StorageClass| {
            self.monthly_storage_usd(Stored { class, bytes, idle_days: 0 }).unwrap_or(f64::INFINITY)
        };
        let mut cheapest = StorageClass::Standard;
        for class in StorageClass::MANAGED {
            if cost(class) < cost(cheapest) {
                cheapest = class;
            }
        }
        cheapest
    }

    fn restore_tier(&self, class: StorageClass, speed: RestoreSpeed) -> Option<TierPrices> {
        let table = match class {
            StorageClass::Glacier => &self.restore.glacier,
            StorageClass::DeepArchive => &self.restore.deep_archive,
            _ => return None,
        };
        match speed {
            RestoreSpeed::Expedited => table.expedited,
            RestoreSpeed::Standard => Some(table.standard),
            RestoreSpeed::Bulk => Some(table.bulk),
        }
    }

    /// The monthly price of the bytes that are billed at the class's own price: what an early deletion goes by.
    fn at_own_price_usd(&self, object: Stored) -> Option<f64> {
        let class = object.class;
        let billed = object.bytes.max(class.minimum_billed_bytes()) + class.overhead_bytes().0;
        let rate = match object.idle_days {
            30..90 if is_monitored(object) => self.intelligent_tiering.infrequent_gb_month,
            90.. if is_monitored(object) => self.intelligent_tiering.archive_instant_gb_month,
            _ => self.class(class)?.storage_gb_month,
        };
        Some(gb(billed) * rate)
    }
}

fn is_monitored(object: Stored) -> bool {
    object.class == StorageClass::IntelligentTiering && object.bytes >= MONITORED_FROM_BYTES
}

fn gb(bytes: u64) -> f64 {
    bytes as f64 / BYTES_PER_GB
}

#[cfg(test)]
pub(crate) mod tests;
