//! A paged stream that is read ahead: while one page is worked on, the next is on its way.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Result, anyhow};
use chrono::SubsecRound;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::aws::{AwsError, Kind};
use crate::ledger::{Columns, Ledger, UnreadableRow};
use crate::s3::S3;
use crate::s3::list::{ListRequest, ListedObject};
use crate::tiering::ledger_row::{LedgerRow, Listed};
use crate::tiering::object::BucketName;

/// How long to wait before a page that failed, after all the retries of the SDK, is asked for again.
const PAGE_RETRIES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(9)];

/// Items in their order, from pages that a task of its own fetches. The task ends with this value.
#[derive(Debug)]
pub(crate) struct Ahead<T> {
    pages: mpsc::Receiver<Result<Option<Vec<T>>>>,
    page: VecDeque<T>,
    ended: bool,
    _fetching: AbortOnDropHandle<()>,
}

impl<T> Ahead<T> {
    /// The next item; None at the stream's end, which is known and not guessed.
    pub async fn next(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(item) = self.page.pop_front() {
                return Ok(Some(item));
            }
            if self.ended {
                return Ok(None);
            }
            match self.pages.recv().await {
                Some(Ok(Some(page))) => self.page = page.into(),
                Some(Ok(None)) => self.ended = true,
                Some(Err(error)) => return Err(error),
                None => return Err(anyhow!("the pages broke off before their end")),
            }
        }
    }
}

/// The listing of a bucket.
pub(crate) fn listing(s3: &S3, bucket: &BucketName) -> Ahead<Listed> {
    let (s3, bucket) = (s3.clone(), bucket.clone());
    ahead(|sender| async move {
        let mut pager = s3.list(&bucket, ListRequest::default());
        let mut failures = 0;
        loop {
            let page = match pager.next_page().await {
                Ok(page) => Ok(page.map(|objects| objects.into_iter().map(listed).collect())),
                Err(error) => match wait_before_retry(&error, failures).await {
                    Retry::Now => {
                        failures += 1;
                        continue;
                    }
                    Retry::Never => Err(error.into()),
                },
            };
            failures = 0;
            if !send(&sender, page).await {
                return;
            }
        }
    })
}

/// Whether a listing failed because S3 says, in so many words, that the bucket does not exist.
pub(crate) fn bucket_is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<AwsError>().is_some_and(|error| error.is("NoSuchBucket"))
}

/// The rows of a bucket.
pub(crate) fn rows(ledger: &Ledger, bucket: &BucketName, columns: Columns) -> Ahead<Result<LedgerRow, UnreadableRow>> {
    let (ledger, bucket) = (ledger.clone(), bucket.clone());
    ahead(|sender| async move {
        let mut pager = ledger.rows(&bucket, columns);
        let mut failures = 0;
        loop {
            let page = match pager.next_page().await {
                Ok(page) => Ok(page),
                Err(error) => match error.downcast_ref::<AwsError>() {
                    Some(aws) if wait_before_retry(aws, failures).await == Retry::Now => {
                        failures += 1;
                        continue;
                    }
                    _ => Err(error),
                },
            };
            failures = 0;
            if !send(&sender, page).await {
                return;
            }
        }
    })
}

fn ahead<T: Send + 'static, F: Future<Output = ()> + Send + 'static>(
    fetch: impl FnOnce(mpsc::Sender<Result<Option<Vec<T>>>>) -> F,
) -> Ahead<T> {
    // One page waits here, one is worked on, one is on its way.
    let (sender, pages) = mpsc::channel(1);
    let fetching = AbortOnDropHandle::new(tokio::spawn(fetch(sender)));
    Ahead { pages, page: VecDeque::new(), ended: false, _fetching: fetching }
}

/// Hands a page over. False: there is nothing more to fetch, or nobody to hand it to.
async fn send<T>(sender: &mpsc::Sender<Result<Option<Vec<T>>>>, page: Result<Option<Vec<T>>>) -> bool {
    let more = matches!(page, Ok(Some(_)));
    sender.send(page).await.is_ok() && more
}

#[derive(Debug, PartialEq, Eq)]
enum Retry {
    Now,
    Never,
}

async fn wait_before_retry(error: &AwsError, failures: usize) -> Retry {
    let passing = matches!(error.kind, Kind::Throttled | Kind::Transient | Kind::Unreachable | Kind::Conflict);
    match PAGE_RETRIES.get(failures) {
        Some(wait) if passing => {
            tracing::debug!(event = "reconcile.page_retried", %error, "a page is asked for again");
            tokio::time::sleep(*wait).await;
            Retry::Now
        }
        _ => Retry::Never,
    }
}

fn listed(object: ListedObject) -> Listed {
    Listed {
        key: object.key,
        etag: object.etag,
        size: object.size,
        class: object.class,
        // Rows keep whole seconds, and so must what is compared with them.
        last_modified: object.last_modified.trunc_subsecs(0),
    }
}
