//! One error type for every call to AWS: what was called, on what, what AWS said, and what kind of trouble it is.

use std::error::Error as StdError;
use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// What a failed call means to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Too fast; the SDK's own retries were used up.
    Throttled,
    /// A 5xx, a time-out, a broken connection: the same call may go through later. It may also have taken effect.
    Transient,
    /// Nothing answers at the endpoint.
    Unreachable,
    /// Credentials are missing, expired or not allowed to do this.
    Denied,
    /// The thing that the call names is not there.
    NotFound,
    /// A condition of the call did not hold (412, `ConditionalCheckFailedException`).
    Precondition,
    /// Something else happened to the same thing at the same time (409).
    Conflict,
    /// Anything else that AWS refuses: asking again will not help.
    Refused,
}

/// A call to AWS that failed after the SDK's retries.
#[derive(Debug)]
pub struct AwsError {
    /// The operation by its API name, such as `CopyObject`.
    pub operation: &'static str,
    /// What it was called on: a bucket, an object, a table, a queue.
    pub subject: String,
    pub kind: Kind,
    /// AWS's error code, where there was an answer that carries one.
    pub code: Option<String>,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What calls to AWS return.
pub type Result<T> = std::result::Result<T, AwsError>;

impl AwsError {
    /// Classifies what the SDK returned for `operation` on `subject`.
    pub fn new<E>(operation: &'static str, subject: impl fmt::Display, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let code = error.code().map(str::to_owned);
        let status = error.raw_response().map(|r| r.status().as_u16());
        let kind = match &error {
            SdkError::DispatchFailure(failure) => {
                if failure.is_user() {
                    Kind::Refused
                } else if failure.as_connector_error().is_some_and(|e| e.is_io()) {
                    Kind::Unreachable
                } else if failure.is_other() {
                    // No connector was at fault: this is how a credentials chain that finds nothing comes out.
                    Kind::Denied
                } else {
                    Kind::Transient
                }
            }
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Kind::Transient,
            SdkError::ConstructionFailure(_) => Kind::Refused,
            _ => classify(code.as_deref(), status),
        };
        let message = match (error.message(), &error) {
            (Some(message), _) => message.to_owned(),
            // The answer to a HEAD has no body, and the SDK knows it as an "unhandled error".
            (None, SdkError::ServiceError(_)) if code.is_none() && status.is_some() => {
                format!("HTTP {} without a reason", status.unwrap_or_default())
            }
            (None, SdkError::ServiceError(service)) => service.err().to_string(),
            (None, SdkError::TimeoutError(_)) => "no answer in time".to_owned(),
            (None, other) => root_cause(other),
        };
        Self { operation, subject: subject.to_string(), kind, code, status, message, source: Some(Box::new(error)) }
    }

    /// A failure that AWS reports inside a successful answer (an entry of a batch, an error body under a 200).
    pub fn from_entry(
        operation: &'static str,
        subject: impl fmt::Display,
        code: Option<&str>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            operation,
            subject: subject.to_string(),
            kind: classify(code, None),
            code: code.map(str::to_owned),
            status: None,
            message: message.into(),
            source: None,
        }
    }

    /// Whether AWS's error code is `code`.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether asking again, later, cannot help.
    pub fn is_permanent(&self) -> bool {
        matches!(self.kind, Kind::Refused | Kind::NotFound | Kind::Precondition)
    }

    /// Whether the failure says that AWS cannot be used at all now, rather than something of this one call.
    pub fn is_outage(&self) -> bool {
        matches!(self.kind, Kind::Unreachable | Kind::Denied)
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}: ", self.operation, self.subject)?;
        match &self.code {
            Some(code) => write!(f, "{code}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl StdError for AwsError {
    // The SDK's chain repeats what `Display` has said already; it stays available to `{:?}` alone.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        None
    }
}

impl AwsError {
    /// The SDK's own error, for what this type leaves out.
    pub fn sdk_error(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.source.as_deref()
    }
}

fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// By code first (DynamoDB answers almost everything with 400), then by status.
fn classify(code: Option<&str>, status: Option<u16>) -> Kind {
    match code.unwrap_or_default() {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "BandwidthLimitExceeded"
        | "PriorRequestNotComplete"
        | "SlowDown" => Kind::Throttled,
        "InternalError"
        | "InternalServerError"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "TransactionInProgressException" => Kind::Transient,
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidToken"
        | "NotSignedUp"
        | "OptInRequired"
        | "KMS.DisabledException"
        | "KMS.AccessDeniedException" => Kind::Denied,
        "NoSuchBucket"
        | "NoSuchKey"
        | "NoSuchUpload"
        | "NoSuchVersion"
        | "NotFound"
        | "ResourceNotFoundException"
        | "QueueDoesNotExist"
        | "AWS.SimpleQueueService.NonExistentQueue"
        | "NonExistentQueue" => Kind::NotFound,
        // A 403 that speaks of the object's state and not of permissions.
        "InvalidObjectState" => Kind::Refused,
        "PreconditionFailed" | "ConditionalCheckFailedException" => Kind::Precondition,
        "ConditionalRequestConflict"
        | "OperationAborted"
        | "TransactionConflictException"
        | "ResourceInUseException" => Kind::Conflict,
        _ => match status {
            Some(429) => Kind::Throttled,
            Some(401 | 403) => Kind::Denied,
            Some(404) => Kind::NotFound,
            Some(412) => Kind::Precondition,
            Some(408) => Kind::Transient,
            Some(500..) => Kind::Transient,
            _ => Kind::Refused,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_code_decides_before_the_status() {
        let cases = [
            (Some("SlowDown"), Some(503), Kind::Throttled),
            (Some("ProvisionedThroughputExceededException"), Some(400), Kind::Throttled),
            (Some("ConditionalCheckFailedException"), Some(400), Kind::Precondition),
            (Some("AccessDenied"), Some(403), Kind::Denied),
            // A 403 that speaks of the object's state and not of permissions.
            (Some("InvalidObjectState"), Some(403), Kind::Refused),
            (Some("OperationAborted"), Some(409), Kind::Conflict),
            (Some("BucketAlreadyExists"), Some(409), Kind::Refused),
            (None, Some(500), Kind::Transient),
            (None, Some(503), Kind::Transient),
            (None, Some(404), Kind::NotFound),
            (None, None, Kind::Refused),
        ];
        for (code, status, expected) in cases {
            assert_eq!(classify(code, status), expected, "{code:?} {status:?}");
        }
    }
}
