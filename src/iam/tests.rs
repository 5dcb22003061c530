use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::config::DEFAULT_TOML;

const ACCOUNT: &str = "123456789012";

/// The examples in `deploy/iam/` are the defaults with what has none: a log source and a replication rule.
const EXAMPLE: &str = r#"
[[ingest.source]]
kind = "cloudtrail"
bucket = "my-trail-bucket"
bucket_prefix = "siuu"
[[replicate]]
queue = "tierd-object-created"
source_bucket = "source"
source_prefix = "prefix/"
destination_bucket = "destination"
destination_prefix = "bdp/"
"#;

fn place() -> Place {
    Place {
        partition: "aws".to_owned(),
        account: ACCOUNT.to_owned(),
        kms_keys: Vec::new(),
        old_table: Some("old_file_access".to_owned()),
    }
}

fn settings(toml: &str) -> Settings {
    Settings::from_toml(toml).unwrap_or_else(|e| panic!("{e}"))
}

fn one(toml: &str, part: Part) -> Policy {
    policy(&settings(toml), &[part], &place())
}

/// `resource action` for everything that is allowed, with the condition keys behind a `?`.
fn allowed(policy: &Policy) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for statement in &policy.statement {
        let keys: Vec<String> = statement
            .condition
            .iter()
            .flat_map(|c| c.as_object())
            .flatten()
            .filter_map(|(_, keys)| keys.as_object())
            .flatten()
            .map(|(key, _)| key.clone())
            .collect();
        let under = if keys.is_empty() { String::new() } else { format!(" ?{}", keys.join(",")) };
        for resource in &statement.resource {
            all.extend(statement.action.iter().map(|action| format!("{resource} {action}{under}")));
        }
    }
    all
}

fn check_allows(policy: &Policy, expected: &[&str]) {
    let allowed = allowed(policy);
    for line in expected {
        assert!(allowed.contains(*line), "{line} is not among {allowed:#?}");
    }
}

fn names(policy: &Policy, text: &str) -> bool {
    allowed(policy).iter().any(|line| line.contains(text))
}

#[test]
fn each_part_may_do_its_own_work() {
    let table = |part, lines: &[&str]| check_allows(&one(EXAMPLE, part), lines);
    table(
        Part::Provision,
        &[
            "arn:aws:dynamodb:ap-northeast-1:123456789012:table/user/stream/* dynamodb:GetRecords",
            "arn:aws:dynamodb:ap-northeast-1:123456789012:table/user dynamodb:UpdateItem",
            "arn:aws:s3:::siuu* s3:CreateBucket",
            "arn:aws:s3:::siuu* s3:PutBucketCORS ?aws:ResourceAccount",
            "arn:aws:sqs:ap-northeast-1:123456789012:tierd-restore-events sqs:GetQueueAttributes",
        ],
    );
    table(
        Part::Ingest,
        &[
            "arn:aws:dynamodb:ap-northeast-1:123456789012:table/file_access dynamodb:UpdateItem",
            "arn:aws:s3:::my-trail-bucket s3:ListBucket",
            "arn:aws:s3:::my-trail-bucket/* s3:GetObject",
        ],
    );
    table(
        Part::Reconcile,
        &[
            "arn:aws:dynamodb:ap-northeast-1:123456789012:table/file_access dynamodb:DeleteItem",
            "arn:aws:s3:::siuu* s3:ListBucket ?aws:ResourceAccount",
        ],
    );
    table(
        Part::Transition,
        &[
            "arn:aws:s3:::siuu*/* s3:PutObject ?aws:ResourceAccount",
            "arn:aws:s3:::siuu*/* s3:GetObjectRetention ?aws:ResourceAccount",
            "arn:aws:kms:ap-northeast-1:123456789012:key/* kms:GenerateDataKey ?kms:ViaService",
        ],
    );
    table(
        Part::Restore,
        &[
            "arn:aws:s3:::siuu*/* s3:RestoreObject ?aws:ResourceAccount",
            "arn:aws:s3:::siuu*/* s3:DeleteObjectTagging ?aws:ResourceAccount",
            "arn:aws:sqs:ap-northeast-1:123456789012:tierd-restore-requests sqs:DeleteMessage",
        ],
    );
    table(
        Part::Replicate,
        &[
            "arn:aws:s3:::source/prefix/* s3:GetObject",
            "arn:aws:s3:::destination/bdp/* s3:PutObject",
            "arn:aws:s3:::destination/bdp/* s3:PutObjectAcl",
        ],
    );
    table(
        Part::Plan,
        &[
            "arn:aws:dynamodb:ap-northeast-1:123456789012:table/file_access dynamodb:Scan",
            "arn:aws:s3:::siuu*/* s3:GetObject ?aws:ResourceAccount",
            "arn:aws:s3:::siuu* s3:GetBucketVersioning ?aws:ResourceAccount",
        ],
    );
    table(
        Part::Simulate,
        &[
            "arn:aws:s3:::my-trail-bucket s3:ListBucket",
            "arn:aws:s3:::my-trail-bucket/* s3:GetObject",
            "arn:aws:s3:::siuu* s3:ListBucket ?aws:ResourceAccount",
        ],
    );
    table(
        Part::Check,
        &[
            "arn:aws:dynamodb:ap-northeast-1:123456789012:table/tierd_state dynamodb:DescribeTimeToLive",
            "arn:aws:sqs:ap-northeast-1:123456789012:tierd-restore-events-dlq sqs:GetQueueAttributes",
        ],
    );
    table(
        Part::Init,
        &[
            "arn:aws:dynamodb:ap-northeast-1:123456789012:table/file_access dynamodb:CreateTable",
            "arn:aws:sqs:ap-northeast-1:123456789012:tierd-object-created-dlq sqs:CreateQueue",
        ],
    );
}

#[test]
fn no_part_may_do_anothers_work() {
    for (part, never) in [
        (Part::Provision, &["s3:GetObject", "s3:PutObject", "kms:", "table/file_access"][..]),
        (Part::Ingest, &["s3:Put", "siuu", "sqs:", "dynamodb:Scan", "table/user"]),
        (Part::Reconcile, &["s3:Put", "s3:GetObject", "kms:", "sqs:", "table/user"]),
        (Part::Transition, &["s3:DeleteObject", "s3:RestoreObject", "sqs:", "table/user", "dynamodb:CreateTable"]),
        (Part::Restore, &["s3:DeleteObject ", "s3:DeleteObjectVersion", "table/user dynamodb:UpdateItem", "/stream/"]),
        (Part::Replicate, &["siuu", "table/file_access", "s3:DeleteObject"]),
        (Part::Plan, &["Put", "Update", "Delete", "Create", "s3:RestoreObject", "sqs:", "kms:", "table/user"]),
        (Part::Simulate, &["dynamodb:", "sqs:", "Put", "Update", "Delete", "Create", "kms:Generate"]),
        (Part::Check, &["Put", "Update", "Delete", "Create", "s3:GetObject", "sqs:Receive"]),
        (Part::Init, &["s3:Put", "s3:Create", "s3:GetObject", "sqs:Receive", "sqs:SetQueueAttributes"]),
    ] {
        let policy = one(EXAMPLE, part);
        for text in never {
            assert!(!names(&policy, text), "{} may {text}: {:#?}", part.as_str(), allowed(&policy));
        }
    }
}

#[test]
fn who_may_run_transitions_may_plan_them() {
    let transition = allowed(&one(EXAMPLE, Part::Transition));
    for line in allowed(&one(EXAMPLE, Part::Plan)) {
        assert!(transition.contains(&line), "{line}");
    }
}

#[test]
fn nothing_is_allowed_by_a_star() {
    for part in Part::ALL {
        for line in allowed(&one(EXAMPLE, part)) {
            let (resource, action) = line.split_once(' ').expect("two words");
            assert!(!action.split(' ').next().is_some_and(|a| a.contains('*')), "{line}");
            assert!(resource != "*" && !resource.ends_with(":::*"), "{line}");
        }
    }
}

#[test]
fn all_of_the_daemon_is_the_sum_of_its_parts_and_fits_a_managed_policy() {
    let settings = settings(EXAMPLE);
    let parts = Part::of_the_daemon(&settings);
    assert!(!parts.contains(&Part::Init));
    let all = policy(&settings, &parts, &place());
    let sum: BTreeSet<String> = parts.iter().flat_map(|part| allowed(&policy(&settings, &[*part], &place()))).collect();
    assert_eq!(allowed(&all), sum);
    assert!(all.chars() <= MAX_MANAGED_POLICY_CHARS, "{} characters", all.chars());
}

#[test]
fn what_is_disabled_is_not_allowed() {
    let toml = "provision.enabled = false\ningest.enabled = false\nrestore.enabled = false\n";
    let settings = settings(toml);
    let parts = Part::of_the_daemon(&settings);
    assert_eq!(parts, [Part::Transition, Part::Check]);
    let all = policy(&settings, &parts, &place());
    for text in ["sqs:", "table/user", "CreateBucket", "trail"] {
        assert!(!names(&all, text), "{text}: {:#?}", allowed(&all));
    }
}

#[test]
fn settings_that_ask_for_more_are_given_more() {
    let transition = |extra: &str| one(&format!("{extra}\n{EXAMPLE}"), Part::Transition);
    assert!(!names(&transition(""), "s3:DeleteObjectVersion"));
    let deleting = transition("transition.versioned_buckets = \"copy-and-delete-previous\"");
    assert!(names(&deleting, "s3:DeleteObjectVersion"));
    assert!(names(&transition("transition.promote_archived = true"), "s3:RestoreObject"));
    let no_acl = EXAMPLE.replace("destination_prefix", "acl = \"\"\ndestination_prefix");
    assert!(!names(&one(&no_acl, Part::Replicate), "s3:PutObjectAcl"));
}

#[test]
fn prefixes_are_as_wide_as_the_logs_count_and_a_note_says_so() {
    let source = |prefix: &str| {
        format!("[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"trail\"\nbucket_prefix = \"{prefix}\"\n")
    };
    let two = one(&source("data-"), Part::Reconcile);
    assert!(names(&two, ":::siuu* ") && names(&two, ":::data-* "));
    let inner = one(&source("siuu-archive"), Part::Reconcile);
    assert!(!names(&inner, "siuu-archive"), "siuu* covers it");
    assert!(inner.notes.is_empty());
    let everything = one(&source(""), Part::Reconcile);
    assert!(names(&everything, "arn:aws:s3:::* s3:ListBucket ?aws:ResourceAccount"));
    assert_eq!(everything.notes.len(), 1);
}

#[test]
fn keys_that_are_named_are_the_only_ones() {
    let key = "arn:aws:kms:eu-west-1:999999999999:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let place = Place { kms_keys: vec![key.to_owned()], ..place() };
    let policy = policy(&settings(EXAMPLE), &[Part::Transition], &place);
    assert!(policy.notes.is_empty());
    let keys: Vec<String> = allowed(&policy).into_iter().filter(|line| line.contains("kms:Decrypt")).collect();
    assert_eq!(keys, [format!("{key} kms:Decrypt ?kms:ViaService")]);
}

#[test]
fn a_queue_s_url_says_where_it_is() {
    for (address, arn) in [
        ("q", "arn:aws:sqs:ap-northeast-1:123456789012:q"),
        ("https://sqs.us-east-1.amazonaws.com/999999999999/q", "arn:aws:sqs:us-east-1:999999999999:q"),
        ("http://127.0.0.1:5000/999999999999/q", "arn:aws:sqs:ap-northeast-1:999999999999:q"),
    ] {
        let policy = one(&format!("restore.event_queue = \"{address}\"\ningest.enabled = false\n"), Part::Check);
        assert!(names(&policy, &format!("{arn} sqs:GetQueueUrl")), "{address}: {:#?}", allowed(&policy));
        let made = names(&policy, &format!("{arn}-dlq"));
        assert_eq!(made, !address.contains("://"), "dead letters of {address}");
    }
}

#[test]
fn a_region_says_which_partition() {
    for (region, partition) in [
        ("ap-northeast-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
    ] {
        assert_eq!(partition_of(region), partition, "{region}");
    }
}

/// What IAM's grammar asks for ("Grammar of the IAM JSON policy language").
fn check_document(policy: &Policy) {
    let document: Value = serde_json::from_str(&policy.to_json()).expect("JSON");
    assert_eq!(document["Version"], "2012-10-17");
    assert_eq!(document.as_object().map(serde_json::Map::len), Some(2), "no key but Version and Statement");
    let mut sids = BTreeSet::new();
    for statement in document["Statement"].as_array().expect("statements") {
        let sid = statement["Sid"].as_str().expect("a sid");
        assert!(sid.bytes().all(|b| b.is_ascii_alphanumeric()), "{sid}");
        assert!(sids.insert(sid.to_owned()), "{sid} stands twice");
        assert_eq!(statement["Effect"], "Allow");
        assert!(!statement["Action"].as_array().expect("actions").is_empty());
        let arn = |resource: &Value| resource.as_str().is_some_and(|r| r.starts_with("arn:aws:"));
        let resource = &statement["Resource"];
        assert!(arn(resource) || resource.as_array().is_some_and(|many| many.iter().all(arn)), "{resource}");
    }
}

#[test]
fn documents_are_what_iam_takes() {
    // Logs in another region, and buckets of two prefixes: what could make two statements of one.
    let elsewhere = EXAMPLE.replace("bucket_prefix = \"siuu\"", "bucket_prefix = \"data-\"\nregion = \"us-east-1\"");
    for toml in [EXAMPLE, &elsewhere] {
        for part in Part::ALL {
            check_document(&one(toml, part));
        }
        let settings = settings(toml);
        check_document(&policy(&settings, &Part::of_the_daemon(&settings), &place()));
        check_document(&policy(&settings, &Part::ALL, &place()));
    }
}

/// The examples that people read before they have a configuration. `TIERD_WRITE_EXAMPLES=1 cargo test --lib iam` writes
/// them anew.
#[test]
fn the_examples_in_deploy_iam_are_those_of_the_defaults() {
    assert!(DEFAULT_TOML.contains("bucket = \"my-trail-bucket\""), "the examples use the names that the defaults show");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/iam");
    let settings = settings(EXAMPLE);
    let mut expected: Vec<(PathBuf, String)> = vec![(
        directory.join("all.json"),
        policy(&settings, &Part::of_the_daemon(&settings), &place()).to_json() + "\n",
    )];
    for part in Part::ALL {
        let json = policy(&settings, &[part], &place()).to_json() + "\n";
        expected.push((directory.join(format!("{}.json", part.as_str())), json));
    }
    let write = std::env::var_os("TIERD_WRITE_EXAMPLES").is_some();
    for (file, json) in &expected {
        if write {
            fs::create_dir_all(&directory).expect("a directory");
            fs::write(file, json).expect("an example");
        }
        let there = fs::read_to_string(file).unwrap_or_default();
        assert!(
            there == *json,
            "{} is stale; TIERD_WRITE_EXAMPLES=1 cargo test --lib iam writes it anew",
            file.display()
        );
    }
    let files = fs::read_dir(&directory).expect("deploy/iam").count();
    assert_eq!(files, expected.len(), "deploy/iam holds examples only");
}

/// What each bucket's owner sets, filled in for the rule of the examples, with what the role itself is allowed.
#[test]
fn the_bucket_policies_of_replication_allow_what_the_role_is_allowed_and_no_more() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/replicate");
    let role = "arn:aws:iam::111122223333:role/tierd";
    let mut templates = BTreeSet::new();
    for file in ["source-bucket-policy.json", "destination-bucket-policy.json"] {
        let text = fs::read_to_string(directory.join(file)).unwrap();
        let filled = [
            ("ROLE_ARN", role),
            ("SOURCE_BUCKET", "source"),
            ("SOURCE_PREFIX", "prefix/"),
            ("DESTINATION_BUCKET", "destination"),
            ("DESTINATION_PREFIX", "bdp/"),
        ]
        .into_iter()
        .fold(text, |text, (placeholder, value)| text.replace(placeholder, value));
        let policy: Value = serde_json::from_str(&filled).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(policy["Version"], "2012-10-17", "{file}");
        for statement in policy["Statement"].as_array().unwrap() {
            assert_eq!(statement["Effect"], "Allow", "{file}");
            assert_eq!(statement["Principal"], json!({ "AWS": role }), "{file}");
            let actions = match &statement["Action"] {
                Value::String(one) => vec![one.clone()],
                many => serde_json::from_value(many.clone()).unwrap(),
            };
            // Whoever writes a copy leaves it to the bucket's owner, and nothing else is bound to that.
            let writes = actions.iter().any(|action| action == "s3:PutObject" || action == "s3:PutObjectAcl");
            let expected = json!({ "StringEquals": { "s3:x-amz-acl": "bucket-owner-full-control" } });
            assert_eq!(statement["Condition"], if writes { expected } else { Value::Null }, "{file}");
            let resource = statement["Resource"].as_str().unwrap();
            templates.extend(actions.into_iter().map(|action| format!("{resource} {action}")));
        }
    }
    let role_is_allowed = allowed(&one(EXAMPLE, Part::Replicate));
    let in_buckets: BTreeSet<String> = role_is_allowed.into_iter().filter(|line| line.contains(":s3:::")).collect();
    assert_eq!(templates, in_buckets);
}
