//! What the adaptive policy keeps from one transition run to the next: a bucket's shadows, and of all buckets the idle times
//! that were open.

use std::io::{Read as _, Write as _};

use anyhow::Context;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::item::{Item, n};
use super::{State, Written};
use crate::tiering::evidence::{Day, IdleTable};
use crate::tiering::object::BucketName;
use crate::tiering::simulate::shadows::Shadows;

const PK: &str = "adaptive";
/// No bucket has this name.
const ALL: &str = "*";

impl State {
    /// A bucket's shadows; none where there was no run yet.
    pub async fn shadows(&self, bucket: &BucketName) -> anyhow::Result<Shadows> {
        let item = self.get(PK, bucket.as_str()).await?;
        let kept = item.map(|item| read(&item, "shadows")).transpose();
        Ok(kept.with_context(|| format!("reading {PK}/{bucket} of the state table"))?.unwrap_or_default())
    }

    /// Keeps them as of `day`. Refused where another run has kept those of this day or a later one: transition runs one at a
    /// time, but a lease can be lost.
    pub async fn keep_shadows(&self, bucket: &BucketName, shadows: &Shadows, day: Day) -> anyhow::Result<Written> {
        self.keep(bucket.as_str(), "shadows", shadows, day).await
    }

    /// The idle times that were open at the last run that came to its end, of all objects under the policy; None before the
    /// first one.
    pub async fn open_idle_times(&self) -> anyhow::Result<Option<IdleTable>> {
        let item = self.get(PK, ALL).await?;
        item.map(|item| read(&item, "open")).transpose().context("reading the open idle times")
    }

    /// Keeps them as of `day`; refused as in [`State::keep_shadows`].
    pub async fn keep_open_idle_times(&self, open: &IdleTable, day: Day) -> anyhow::Result<Written> {
        self.keep(ALL, "open", open, day).await
    }

    async fn keep(&self, sk: &str, name: &str, value: &impl serde::Serialize, day: Day) -> anyhow::Result<Written> {
        let update = self
            .update(PK, sk)
            .update_expression("SET #value = :value, as_of_day = :day")
            .condition_expression("attribute_not_exists(as_of_day) OR as_of_day < :day")
            .expression_attribute_names("#value", name)
            .expression_attribute_values(":value", AttributeValue::B(Blob::new(pack(value)?)))
            .expression_attribute_values(":day", n(u64::try_from(day).unwrap_or(0)));
        Ok(self.send_update(sk, update).await?)
    }
}

/// An item has 400 KB at most; a thousand shadows as text have a good part of that.
fn pack(value: &impl serde::Serialize) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&serde_json::to_vec(value)?)?;
    Ok(encoder.finish()?)
}

fn read<T: serde::de::DeserializeOwned>(item: &Item, name: &str) -> anyhow::Result<T> {
    let Some(AttributeValue::B(bytes)) = item.get(name) else { anyhow::bail!("attribute `{name}` is not binary") };
    let mut text = Vec::new();
    GzDecoder::new(bytes.as_ref()).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tiering::adaptive::experts::{Experts, Restores};
    use crate::tiering::adaptive::hazard::Hazards;
    use crate::tiering::adaptive::safeguard::SHADOWED;
    use crate::tiering::cost::RestoreSpeed;
    use crate::tiering::cost::tests::us_east_1;
    use crate::tiering::evidence::{DayAccess, ObjectEvidence};
    use crate::tiering::policy::adaptive::Known;
    use crate::tiering::policy::guard::Copies;
    use crate::tiering::simulate::account::Tariff;
    use crate::tiering::storage_class::StorageClass;

    /// A bucket with as many shadows as there may be, no two alike.
    fn full() -> Shadows {
        let (prices, mut experts) = (us_east_1(), Experts::default());
        experts.learn(
            &prices,
            &Hazards::prior(),
            Restores { speed: RestoreSpeed::Standard, days: 1, class: StorageClass::Standard },
        );
        let known = |i: u64| {
            let (day, mut evidence) = (20_000 - (i % 700) as Day, ObjectEvidence::default());
            evidence.add(&DayAccess { day, reads: i % 3, bytes_read: i, written: true }, &mut IdleTable::default());
            let bytes = 1_000_000 + i * 7919 % 90_000_000;
            (
                i.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                Known { class: StorageClass::Standard, bytes, class_since: day, evidence },
            )
        };
        let objects: BTreeMap<u64, Known> = (0..SHADOWED as u64).map(known).collect();
        let copies = Copies { multipart_threshold_bytes: 5 << 30, part_bytes: 512 << 20 };
        let tariff = Tariff {
            prices: &prices,
            copies,
            restore: RestoreSpeed::Standard,
            restore_days: 1,
            restored_class: StorageClass::Standard,
        };
        let mut shadows = Shadows::default();
        for day in [20_001, 20_031, 20_061] {
            shadows.go_on(&objects, day, &tariff, &experts, 0);
        }
        shadows
    }

    #[test]
    fn a_thousand_shadows_fit_into_an_item_many_times_over_and_come_back_as_they_were() {
        let shadows = full();
        let packed = pack(&shadows).unwrap();
        assert!(packed.len() < 64 << 10, "{} bytes", packed.len());
        let item: std::collections::HashMap<_, _> =
            [("shadows".to_owned(), AttributeValue::B(Blob::new(packed)))].into();
        // The last digits of a number may be lost.
        let kept = read::<Shadows>(&Item::from(item), "shadows").unwrap();
        assert_eq!(format!("{kept:.12?}"), format!("{shadows:.12?}"));
        assert!(read::<Shadows>(&Item::new(), "shadows").unwrap_err().to_string().contains("not binary"));
    }
}
