//! S3 as the parts of tierd use it: few calls, each with what it takes to be right behind it (encodings, pages,
//! conditions, error codes). Nothing else in the program speaks to S3.

pub mod bucket;
pub mod bucket_facts;
pub mod copy;
pub mod list;
pub mod object;

use aws_sdk_s3::Client;
use aws_smithy_runtime_api::client::interceptors::Intercept;

/// A handle on S3; cheap to clone.
#[derive(Debug, Clone)]
pub struct S3 {
    client: Client,
    /// For copies: patient, with a retry quota of its own.
    copier: Client,
}

impl S3 {
    pub fn new(client: Client, copier: Client) -> Self {
        Self { client, copier }
    }

    /// The same for bulk work: every call draws on the copies' retry quota, so that none of them can starve a call that
    /// somebody waits for.
    pub fn for_bulk(&self) -> Self {
        Self { client: self.copier.clone(), copier: self.copier.clone() }
    }

    /// The same with every attempt of every call shown to `interceptor`.
    pub fn watched_by(&self, interceptor: impl Intercept + Clone + 'static) -> Self {
        let watched =
            |client: &Client| Client::from_conf(client.config().to_builder().interceptor(interceptor.clone()).build());
        Self { client: watched(&self.client), copier: watched(&self.copier) }
    }

    /// The SDK's client, for the modules of this folder.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}
