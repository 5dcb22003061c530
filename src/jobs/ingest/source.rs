//! A log source made of its configuration: where its files are and how they are read.

use anyhow::{Context, Result};

use crate::config::{CountRule as RuleSettings, LogKind, Source};
use crate::s3::S3;
use crate::state::batches::BatchFile;
use crate::tiering::access::{CountRule, CountingRules, PrincipalPattern};
use crate::tiering::access_log::alb::PathPattern;
use crate::tiering::access_log::gzip::Encoding;
use crate::tiering::access_log::layout::{Kind, Layout};
use crate::tiering::access_log::{Format, Parser};
use crate::tiering::object::BucketName;

/// A place where logs are, as the configuration names it.
#[derive(Debug)]
pub struct LogSource {
    name: String,
    pub(super) bucket: BucketName,
    /// In the log bucket's region.
    pub(super) s3: S3,
    pub(super) layout: Layout,
    pub(super) parser: Parser,
    pub(super) encoding: Encoding,
    /// What counts, in the order of the configuration, which all sources share.
    pub(super) rules: Vec<CountRule>,
}

/// What counts, as the configuration has it.
pub fn counting_rules(settings: &[RuleSettings]) -> Vec<CountRule> {
    let rules = settings.iter();
    rules.map(|rule| CountRule { event: rule.event.clone(), with_parameter: rule.with_parameter.clone() }).collect()
}

impl LogSource {
    /// `rules` say what counts, and `exclude` are the callers whose work never does.
    pub fn new(source: &Source, rules: &[CountRule], exclude: Vec<PrincipalPattern>, s3: S3) -> Result<Self> {
        let rules_in_order = rules.to_vec();
        let rules = CountingRules { rules: rules.to_vec(), exclude, bucket_prefix: source.bucket_prefix.clone() };
        let (kind, word, format, encoding) = match source.kind {
            LogKind::CloudTrail => (Kind::CloudTrail, "cloudtrail", Format::CloudTrail, Encoding::Gzip),
            // S3 writes them plain, and people compress them later.
            LogKind::S3AccessLog => (Kind::S3AccessLog, "s3-access-log", Format::S3AccessLog, Encoding::GzipOrPlain),
            LogKind::Alb => {
                let pattern = source.path_pattern.as_deref().context("an alb source has a path_pattern")?;
                (Kind::Alb, "alb", Format::Alb(PathPattern::new(pattern)?), Encoding::Gzip)
            }
        };
        Ok(Self {
            name: format!("{word} s3://{}/{}", source.bucket, source.prefix),
            bucket: source.bucket.clone(),
            s3,
            layout: Layout::new(kind, &source.prefix, source.account_ids.clone(), source.regions.clone()),
            parser: Parser::new(format, rules),
            encoding,
            rules: rules_in_order,
        })
    }

    /// For people, and unlike any other source's: `cloudtrail s3://BUCKET/PREFIX`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a file is one of this source's.
    pub(super) fn reads(&self, file: &BatchFile) -> bool {
        self.bucket == file.place.bucket && self.layout.log_file(file.key.as_str()).is_some()
    }
}
