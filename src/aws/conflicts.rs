//! An answer that the SDK does not ask again after, and should: a row is being written by a transaction at this moment.
//! Moves write rows in transactions while ingest and reconcile write the same table, and a transaction is over in
//! milliseconds.

use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};

/// DynamoDB's answer to a single write that meets a transaction. A transaction that meets another one is not asked for
/// again: its rows may be written one by one as well.
const CODE: &[u8] = b"#TransactionConflictException";

/// Has writes that met a transaction sent again.
#[derive(Debug)]
pub(super) struct TransactionConflicts;

impl ClassifyRetry for TransactionConflicts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let met_one = context.response().is_some_and(|response| {
            response.status().as_u16() == 400
                && response.body().bytes().is_some_and(|body| memchr::memmem::find(body, CODE).is_some())
        });
        if met_one { RetryAction::transient_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "tierd-transaction-conflicts"
    }
}
