//! What the credentials may do, tried without any effect.
//!
//! DynamoDB looks at permissions before it looks at a condition, so a write under a condition that never holds tells
//! whether it would be allowed. S3 says 404 of an object that is not there only to those who may read and list. SQS has no
//! such call: to receive a message is to hide it from others, so queues are not tried.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::AttributeValue;

use super::{Bucket, BucketRole, Resource, Resources, Table, TableRole, tables};
use crate::aws::{AwsError, AwsResult, Kind};

/// A key that nothing has: no bucket, no user and no part of the state is called so.
const NOTHING: &str = "tierd check";

/// The IAM actions that the daemon needs on a resource and that are denied.
pub(super) async fn denied(resources: &Resources, resource: &Resource) -> Vec<&'static str> {
    match resource {
        Resource::Table(table) => {
            let mut denied = denied_on_table(&resources.clients.dynamodb, table).await;
            if let TableRole::Users { .. } = table.role {
                denied.extend(denied_on_stream(resources, table).await);
            }
            denied
        }
        Resource::Bucket(bucket) => denied_on_bucket(resources, bucket).await,
        Resource::Queue(_) => Vec::new(),
    }
}

async fn denied_on_table(client: &aws_sdk_dynamodb::Client, table: &Table) -> Vec<&'static str> {
    let name = &table.name;
    let keys = tables::keys(&table.role);
    let key: HashMap<String, AttributeValue> =
        keys.iter().map(|key| ((*key).to_owned(), AttributeValue::S(NOTHING.to_owned()))).collect();
    let never = "attribute_exists(#key) AND attribute_not_exists(#key)";
    let hash = keys[0];
    let mut tried = vec![
        (
            "dynamodb:GetItem",
            told(client.get_item().table_name(name).set_key(Some(key.clone())).send().await, "GetItem", name),
        ),
        (
            "dynamodb:UpdateItem",
            told(
                client
                    .update_item()
                    .table_name(name)
                    .set_key(Some(key.clone()))
                    .update_expression("REMOVE tierd_check")
                    .condition_expression(never)
                    .expression_attribute_names("#key", hash)
                    .send()
                    .await,
                "UpdateItem",
                name,
            ),
        ),
    ];
    if table.role != TableRole::State {
        let scan = client.scan().table_name(name).limit(1).projection_expression("#key");
        let sent = scan.expression_attribute_names("#key", hash).send().await;
        tried.push(("dynamodb:Scan", told(sent, "Scan", name)));
    }
    if matches!(table.role, TableRole::State | TableRole::Ledger) {
        let query = client.query().table_name(name).key_condition_expression("#key = :nothing").limit(1);
        let query = query.expression_attribute_names("#key", hash);
        let sent = query.expression_attribute_values(":nothing", AttributeValue::S(NOTHING.to_owned())).send().await;
        tried.push(("dynamodb:Query", told(sent, "Query", name)));
        let delete = client.delete_item().table_name(name).set_key(Some(key.clone())).condition_expression(never);
        let sent = delete.expression_attribute_names("#key", hash).send().await;
        tried.push(("dynamodb:DeleteItem", told(sent, "DeleteItem", name)));
    }
    if table.role == TableRole::State {
        let put = client.put_item().table_name(name).set_item(Some(key)).condition_expression(never);
        let sent = put.expression_attribute_names("#key", hash).send().await;
        tried.push(("dynamodb:PutItem", told(sent, "PutItem", name)));
    }
    only_denied(tried)
}

/// Whether the users table's stream may be looked at. To read from it is tried by nothing but reading.
async fn denied_on_stream(resources: &Resources, table: &Table) -> Vec<&'static str> {
    let Ok(Some(arn)) = tables::stream_arn(&resources.clients.dynamodb, &table.name).await else { return Vec::new() };
    let sent = resources.clients.streams.describe_stream().stream_arn(&arn).limit(1).send().await;
    only_denied(vec![("dynamodb:DescribeStream", told(sent, "DescribeStream", &arn))])
}

async fn denied_on_bucket(resources: &Resources, bucket: &Bucket) -> Vec<&'static str> {
    let BucketRole::Logs { region, prefix } = &bucket.role else { return Vec::new() };
    let client = resources.clients.s3_in(region.as_deref().unwrap_or(&resources.clients.region));
    // Below AWSLogs/, where a policy that allows no more than needed allows it.
    let key = format!("{prefix}AWSLogs/{NOTHING}");
    let sent = client.get_object().bucket(bucket.name.as_str()).key(&key).send().await;
    only_denied(vec![("s3:GetObject", told(sent, "GetObject", bucket.name.as_str()))])
}

fn told<T, E>(sent: Result<T, SdkError<E>>, operation: &'static str, subject: &str) -> AwsResult<()>
where
    E: aws_smithy_types::error::metadata::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    sent.map(|_| ()).map_err(|e| AwsError::new(operation, subject, e))
}

/// Whatever else a call says, it was allowed.
fn only_denied(tried: Vec<(&'static str, AwsResult<()>)>) -> Vec<&'static str> {
    let is_denied = |answer: &AwsResult<()>| answer.as_ref().is_err_and(|error| error.kind == Kind::Denied);
    tried.into_iter().filter(|(_, answer)| is_denied(answer)).map(|(action, _)| action).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::error::ErrorMetadata;
    use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
    use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
    use aws_sdk_dynamodb::operation::query::QueryOutput;
    use aws_sdk_dynamodb::operation::scan::ScanOutput;
    use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
    use aws_smithy_mocks::{RuleMode, mock, mock_client};

    use super::*;

    #[tokio::test]
    async fn what_is_denied_is_named_and_a_refused_condition_is_none_of_it() {
        let refused = mock!(Client::update_item).then_error(|| {
            UpdateItemError::generic(ErrorMetadata::builder().code("ConditionalCheckFailedException").build())
        });
        let denied = mock!(Client::delete_item)
            .then_error(|| DeleteItemError::generic(ErrorMetadata::builder().code("AccessDeniedException").build()));
        let get = mock!(Client::get_item).then_output(|| GetItemOutput::builder().build());
        let query = mock!(Client::query).then_output(|| QueryOutput::builder().build());
        let scan = mock!(Client::scan).then_output(|| ScanOutput::builder().build());
        let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&refused, &denied, &get, &query, &scan]);
        let ledger = Table { name: "ledger".to_owned(), role: TableRole::Ledger };
        assert_eq!(denied_on_table(&client, &ledger).await, ["dynamodb:DeleteItem"]);
    }
}
