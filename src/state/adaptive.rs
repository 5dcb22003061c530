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
