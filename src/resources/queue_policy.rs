//! Who may send to a queue: the policy that `init` sets, and what is wrong with one that is there.
//!
//! S3 sends as `s3.amazonaws.com` whoever owns the bucket. Without the account in a condition, anybody's bucket could send
//! here, and a message is what makes the daemon restore and copy ("Granting permissions to publish event notification
//! messages", S3 user guide).

use serde_json::{Value, json};

use super::Account;
use crate::tiering::access::PrincipalPattern;

const S3: &str = "s3.amazonaws.com";
const SEND: &str = "sqs:sendmessage";
/// Notifications may also come through these, as they do where several receive them.
const RELAYS: [&str; 2] = ["sns.amazonaws.com", "events.amazonaws.com"];

/// A policy by which S3 may send what happens in this account's buckets that fit `buckets`, and nobody else anything.
pub(super) fn for_s3(account: &Account, queue_arn: &str, buckets: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "BucketsOfThisAccount",
            "Effect": "Allow",
            "Principal": { "Service": S3 },
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
            "Condition": {
                "StringEquals": { "aws:SourceAccount": account.id },
                "ArnLike": { "aws:SourceArn": bucket_arn(account, buckets) },
            },
        }],
    })
    .to_string()
}

/// What is wrong with a queue's policy; empty when nothing is. `buckets`: those whose notifications must come through,
/// None where nothing need come from S3.
pub(super) fn problems(policy: Option<&str>, account: &Account, buckets: Option<&str>) -> Vec<String> {
    let statements = match policy.filter(|policy| !policy.is_empty()).map(serde_json::from_str::<Value>) {
        None => Vec::new(),
        Some(Ok(policy)) => list(&policy["Statement"]).into_iter().cloned().collect(),
        Some(Err(_)) => return vec!["its policy is no JSON".to_owned()],
    };
    let senders: Vec<&Value> = statements.iter().filter(|statement| lets_send(statement)).collect();
    let mut problems: Vec<String> = senders.iter().flat_map(|statement| strangers(statement, account)).collect();
    if let Some(buckets) = buckets {
        let relayed = senders.iter().any(|s| services(s).iter().any(|service| RELAYS.contains(&service.as_str())));
        if !relayed && !senders.iter().any(|statement| lets_s3_send(statement, account, buckets)) {
            problems.push(format!("its policy does not let S3 send for {}", bucket_arn(account, buckets)));
        }
    }
    problems.sort();
    problems.dedup();
    problems
}

fn bucket_arn(account: &Account, buckets: &str) -> String {
    format!("arn:{}:s3:::{buckets}", account.partition)
}

fn lets_send(statement: &Value) -> bool {
    let is_allow = statement["Effect"] == "Allow";
    // What is allowed by naming what is not: too wide to be read as anything but everything.
    let by_exception = statement.get("NotAction").is_some();
    is_allow
        && (by_exception || texts(&statement["Action"]).iter().any(|action| fits(&action.to_ascii_lowercase(), SEND)))
}

/// Those whom a statement lets send and who are not of this account.
fn strangers(statement: &Value, account: &Account) -> Vec<String> {
    if is_bound_to(statement, account) {
        return Vec::new();
    }
    let mut found = Vec::new();
    if is_for_everyone(statement) {
        found.push("its policy lets anybody send".to_owned());
    }
    for service in services(statement) {
        found.push(format!("its policy lets {service} send for any account: aws:SourceAccount is not {}", account.id));
    }
    for principal in texts(&statement["Principal"]["AWS"]) {
        let id = principal.split(':').nth(4).unwrap_or(&principal);
        if id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()) && id != account.id {
            found.push(format!("its policy lets account {id} send"));
        }
    }
    found
}

fn lets_s3_send(statement: &Value, account: &Account, buckets: &str) -> bool {
    let for_s3 = is_for_everyone(statement) || services(statement).iter().any(|service| service == S3);
    let accounts = condition(statement, "aws:sourceaccount");
    let sources = condition(statement, "aws:sourcearn");
    let wanted = bucket_arn(account, buckets);
    for_s3
        && (accounts.is_empty() || accounts.contains(&account.id))
        // A star in what is wanted is a character like any other here: only a star covers it.
        && (sources.is_empty() || sources.iter().any(|source| fits(source, &wanted)))
}

fn is_for_everyone(statement: &Value) -> bool {
    let principal = &statement["Principal"];
    principal == "*" || texts(&principal["AWS"]).iter().any(|p| p == "*") || statement.get("NotPrincipal").is_some()
}

fn services(statement: &Value) -> Vec<String> {
    texts(&statement["Principal"]["Service"])
}

/// Whether a condition keeps every other account out: by its id, or by an ARN that holds it.
fn is_bound_to(statement: &Value, account: &Account) -> bool {
    let accounts: Vec<String> = ["aws:sourceaccount", "aws:principalaccount", "aws:sourceowner"]
        .iter()
        .flat_map(|key| condition(statement, key))
        .collect();
    let sources = condition(statement, "aws:sourcearn");
    let all_own = |ids: &[String]| !ids.is_empty() && ids.iter().all(|id| *id == account.id);
    let source_accounts: Vec<String> =
        sources.iter().map(|arn| arn.split(':').nth(4).unwrap_or_default().to_owned()).collect();
    all_own(&accounts) || all_own(&source_accounts) || !condition(statement, "aws:principalorgid").is_empty()
}

/// What a condition key must equal or be like. Keys are compared without regard to case, as IAM does; an operator that
/// also holds where the key is absent binds nothing.
fn condition(statement: &Value, key: &str) -> Vec<String> {
    const BINDING: [&str; 5] = ["stringequals", "stringlike", "stringequalsignorecase", "arnlike", "arnequals"];
    let Some(operators) = statement["Condition"].as_object() else { return Vec::new() };
    operators
        .iter()
        .filter(|(operator, _)| BINDING.contains(&operator.to_ascii_lowercase().as_str()))
        .filter_map(|(_, keys)| keys.as_object())
        .flatten()
        .filter(|(name, _)| name.eq_ignore_ascii_case(key))
        .flat_map(|(_, values)| texts(values))
        .collect()
}

fn fits(pattern: &str, text: &str) -> bool {
    PrincipalPattern::new(pattern).matches(text)
}

/// IAM writes a list of one as the one itself.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    }
}

fn texts(value: &Value) -> Vec<String> {
    list(value).into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "arn:aws:sqs:eu-west-1:111111111111:q";

    fn own() -> Account {
        Account { partition: "aws".to_owned(), id: "111111111111".to_owned() }
    }

    fn check(statement: Value, expected: &[&str]) {
        let policy = json!({ "Statement": [statement] }).to_string();
        assert_eq!(problems(Some(&policy), &own(), Some("siuu*")), expected, "{policy}");
    }

    #[test]
    fn the_policy_that_init_sets_has_nothing_wrong_with_it() {
        let policy = for_s3(&own(), QUEUE, "siuu*");
        assert_eq!(problems(Some(&policy), &own(), Some("siuu*")), Vec::<String>::new());
        // It names no bucket but those.
        assert_eq!(problems(Some(&policy), &own(), Some("other*")).len(), 1);
        // To another account it is a stranger's.
        let other = Account { id: "222222222222".to_owned(), ..own() };
        assert_eq!(problems(Some(&policy), &other, Some("siuu*")).len(), 2);
    }

    #[test]
    fn a_queue_without_a_policy_takes_nothing_from_s3() {
        let silent = "its policy does not let S3 send for arn:aws:s3:::siuu*";
        assert_eq!(problems(None, &own(), Some("siuu*")), [silent]);
        assert_eq!(problems(Some(""), &own(), None), Vec::<String>::new());
        assert_eq!(problems(Some("{"), &own(), None), ["its policy is no JSON"]);
    }

    #[test]
    fn strangers_are_named_and_relays_of_this_account_are_not() {
        let anyone = json!({ "Effect": "Allow", "Principal": "*", "Action": "SQS:SendMessage", "Resource": QUEUE });
        check(anyone, &["its policy lets anybody send"]);
        let any_bucket = json!({ "Effect": "Allow", "Principal": { "Service": S3 }, "Action": "sqs:*", "Resource": QUEUE,
            "Condition": { "ArnLike": { "aws:SourceArn": "arn:aws:s3:::*" } } });
        check(
            any_bucket,
            &["its policy lets s3.amazonaws.com send for any account: aws:SourceAccount is not 111111111111"],
        );
        // The form of the older examples in the S3 user guide.
        let bound = json!({ "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": ["sqs:SendMessage"], "Resource": QUEUE,
            "Condition": { "StringEquals": { "AWS:sourceaccount": ["111111111111"] } } });
        check(bound, &[]);
        let not_binding = json!({ "Effect": "Allow", "Principal": { "Service": S3 }, "Action": "sqs:SendMessage",
            "Condition": { "StringEqualsIfExists": { "aws:SourceAccount": "111111111111" } } });
        check(
            not_binding,
            &["its policy lets s3.amazonaws.com send for any account: aws:SourceAccount is not 111111111111"],
        );
        let relay = json!({ "Effect": "Allow", "Principal": { "Service": "sns.amazonaws.com" }, "Action": "sqs:SendMessage",
            "Condition": { "ArnEquals": { "aws:SourceArn": "arn:aws:sns:eu-west-1:111111111111:topic" } } });
        check(relay, &[]);
        let other_account = json!({ "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::222222222222:root" },
            "Action": "sqs:Send*" });
        check(
            other_account,
            &["its policy does not let S3 send for arn:aws:s3:::siuu*", "its policy lets account 222222222222 send"],
        );
        let only_reads = json!({ "Effect": "Allow", "Principal": "*", "Action": "sqs:ReceiveMessage" });
        check(only_reads, &["its policy does not let S3 send for arn:aws:s3:::siuu*"]);
    }
}
