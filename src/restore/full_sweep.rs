//! The full sweep: what even the index has lost (a state table that was restored from a backup, or made anew). It walks the
//! listings of the buckets and asks every archived object for its tags, which is a call an object: for people to run after
//! an accident, not for a schedule.
//!
//! An object that bears the tag and is not in the index is put there first, so that from then on every sweep looks after it,
//! and then gets what a row of the index gets.

use std::collections::BTreeSet;

use anyhow::Result;
use futures::{StreamExt, stream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Restorer;
use super::is_hopeless;
use super::sweep::{Swept, add_problem, count, would};
use crate::aws::{AwsError, Kind};
use crate::clock;
use crate::jobs::Mode;
use crate::jobs::report::SweepReport;
use crate::progress::Progress;
use crate::s3::list::{ListRequest, ListedObject};
use crate::tiering::object::{BucketName, ObjectId};
use crate::tiering::restore::{Intent, RequestRecord, on_sweep};
use crate::tiering::storage_class::StorageClass;

/// Listings that are read at once. The objects under way, of all of them, are as many as restores are worked on.
const BUCKETS_AT_ONCE: usize = 8;

impl Restorer {
    /// Finds the objects of these buckets that were asked for and are not in the index, and does what they need. A bucket
    /// that cannot be listed is reported and the others are swept.
    pub async fn sweep_listings(
        &self,
        buckets: BTreeSet<BucketName>,
        mode: Mode,
        progress: &Progress,
        stop: &CancellationToken,
        report: &mut SweepReport,
    ) -> Result<()> {
        progress.phase("listings", None);
        let places = Semaphore::new(self.rules.concurrency);
        let walk = Walk { restorer: self, mode, progress, stop, places };
        let walk = &walk;
        let mut walks = stream::iter(buckets)
            .map(|bucket| async move {
                let mut found = SweepReport::default();
                let walked = walk.bucket(&bucket, &mut found).await;
                (bucket, found, walked)
            })
            .buffer_unordered(BUCKETS_AT_ONCE);
        while let Some((bucket, found, walked)) = walks.next().await {
            report.archived_objects += found.archived_objects;
            report.restores_found += found.restores_found;
            report.restores_finished += found.restores_finished;
            report.restores_repeated += found.restores_repeated;
            report.failed += found.failed;
            found.problems.into_iter().for_each(|problem| add_problem(report, problem));
            match walked {
                Ok(()) => {}
                Err(error) if error.downcast_ref::<AwsError>().is_some_and(is_hopeless) => return Err(error),
                Err(error) => {
                    tracing::warn!(
                        event = "restore.bucket_not_swept",
                        bucket = bucket.as_str(),
                        error = format!("{error:#}"),
                        "a bucket could not be walked to its end"
                    );
                    report.failed += 1;
                    add_problem(report, format!("s3://{bucket}: {error:#}"));
                }
            }
        }
        Ok(())
    }
}

/// What all buckets' walks share.
struct Walk<'a> {
    restorer: &'a Restorer,
    mode: Mode,
    progress: &'a Progress,
    stop: &'a CancellationToken,
    places: Semaphore,
}

impl Walk<'_> {
    async fn bucket(&self, bucket: &BucketName, report: &mut SweepReport) -> Result<()> {
        let mut pages = self.restorer.s3.list(bucket, ListRequest::default());
        loop {
            let page = match pages.next_page().await {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(()),
                // A bucket that is gone has nothing to bring back.
                Err(error) if error.kind == Kind::NotFound => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let archived: Vec<ObjectId> = page
                .into_iter()
                .filter(may_be_archived)
                .map(|object| ObjectId::new(bucket.clone(), object.key))
                .collect();
            report.archived_objects += archived.len() as u64;
            self.progress.add_total(archived.len() as u64);
            let mut objects =
                stream::iter(archived).map(|id| self.object(id)).buffer_unordered(self.restorer.rules.concurrency);
            while let Some(swept) = objects.next().await {
                self.progress.add_done(1);
                if let Some(swept) = swept? {
                    report.restores_found += 1;
                    count(swept, report);
                }
            }
            if self.stop.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// None: nobody asked tierd for it, or the index knows of it. Fails only where AWS cannot be used at all.
    async fn object(&self, id: ObjectId) -> Result<Option<Swept>> {
        let _place = self.places.acquire().await.expect("nobody closes the places");
        if self.stop.is_cancelled() {
            return Ok(None);
        }
        match self.restorer.adopt(&id, self.mode, self.stop).await {
            Err(error) if !error.downcast_ref::<AwsError>().is_some_and(is_hopeless) => {
                Ok(Some(Swept::Failed(format!("{id}: {error:#}"))))
            }
            other => other,
        }
    }
}

/// Whether Intelligent-Tiering has archived an object, a listing does not tell.
fn may_be_archived(object: &ListedObject) -> bool {
    object.class.is_archive() || object.class == StorageClass::IntelligentTiering
}

impl Restorer {
    async fn adopt(&self, id: &ObjectId, mode: Mode, stop: &CancellationToken) -> Result<Option<Swept>> {
        let tags = self.tags(id).await?.unwrap_or_default();
        if !tags.iter().any(|(key, _)| *key == self.rules.tag_key) {
            return Ok(None);
        }
        {
            let _alone = self.locks.lock(id).await;
            let seen = self.look(id).await?;
            let Some(object) = seen.object.filter(|object| object.state.intent == Intent::Tagged) else {
                return Ok(None);
            };
            if seen.row.is_some() {
                return Ok(None);
            }
            let record = RequestRecord {
                id: id.clone(),
                // When it was, and what was asked for, is lost with the row.
                requested_at: clock::now_secs(),
                days: self.rules.defaults.days,
                tier: self.rules.defaults.tier,
                etag: Some(object.state.etag.clone()),
            };
            if mode == Mode::DryRun {
                return Ok(Some(would(id, on_sweep(&record, Some(&object.state), clock::now()))));
            }
            self.state.note_restore(None, record).await?;
            tracing::info!(
                event = "restore.found",
                bucket = id.bucket.as_str(),
                key = id.key.as_str(),
                "an object bears the mark of a restore that the index had lost"
            );
        }
        self.mend(id, mode, stop).await.map(Some)
    }
}
