//! Tables: their keys, the state table's `ttl`, the users table's stream.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, PointInTimeRecoverySpecification, ScalarAttributeType,
    TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};

use super::{Standing, Table, TableRole};
use crate::aws::{AwsError, AwsResult, Kind};

/// DynamoDB deletes items of the state table by this attribute.
const TTL_ATTRIBUTE: &str = "ttl";
/// A new table takes some seconds; many at once take longer.
const ACTIVE_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(500);
/// Backups of a new table can be had some seconds after the table.
const BACKUP_ATTEMPTS: u32 = 10;

pub(super) async fn exists(client: &Client, table: &Table) -> AwsResult<()> {
    describe(client, &table.name).await.map(|_| ())
}

pub(super) async fn inspect(client: &Client, table: &Table) -> AwsResult<Standing> {
    let description = describe(client, &table.name).await?;
    if description.table_status == Some(TableStatus::Creating) {
        return Ok(Standing::Pending);
    }
    let (wanted, found) = (keys(&table.role), keys_of(&description));
    let mut seen = vec![format!("keys {}", wanted.join("/"))];
    let mut differs = Vec::new();
    if found != wanted.iter().map(|key| format!("{key} (S)")).collect::<Vec<_>>() {
        let wanted: Vec<String> = wanted.iter().map(|key| format!("{key} (S)")).collect();
        differs.push(format!("its keys are {}, needed are {}", found.join("/"), wanted.join("/")));
    }
    match &table.role {
        TableRole::Users { .. } => match description.stream_specification.filter(|stream| stream.stream_enabled) {
            Some(stream) => {
                let view = stream.stream_view_type.map_or("keys".to_owned(), |view| view.as_str().to_owned());
                seen.push(format!("stream on with {view}"));
            }
            None => differs.push("its stream is off".to_owned()),
        },
        TableRole::State => match ttl(client, &table.name).await? {
            Some(attribute) if attribute == TTL_ATTRIBUTE => seen.push(format!("ttl on {TTL_ATTRIBUTE}")),
            Some(other) => differs.push(format!("its ttl is on {other}, needed is {TTL_ATTRIBUTE}")),
            None => differs.push(format!("its ttl is off, needed is {TTL_ATTRIBUTE}")),
        },
        TableRole::Ledger => {}
    }
    Ok(if differs.is_empty() { Standing::Ok(seen.join(", ")) } else { Standing::Differs(differs) })
}

/// What a person does about a table that `init` will not touch.
pub(super) fn mend(table: &Table, standing: &Standing) -> String {
    let name = &table.name;
    let stream = "--stream-specification StreamEnabled=true,StreamViewType=NEW_IMAGE";
    let Standing::Differs(how) = standing else {
        return match &table.role {
            TableRole::Users { key } => format!(
                "it is the service's own, named by users.table; make it with `aws dynamodb create-table --table-name {name} \
                 --billing-mode PAY_PER_REQUEST --attribute-definitions AttributeName={key},AttributeType=S \
                 --key-schema AttributeName={key},KeyType=HASH {stream}`"
            ),
            TableRole::Ledger | TableRole::State => String::new(),
        };
    };
    // The keys of a table cannot be changed; everything else can.
    if how.iter().any(|what| what.starts_with("its keys")) {
        return match &table.role {
            TableRole::Users { .. } => "set users.key to its hash key, or users.table to the right table".to_owned(),
            TableRole::Ledger => {
                "name another table in ledger.table; `tierd ledger import` carries an old one over".to_owned()
            }
            TableRole::State => "name another table in state.table".to_owned(),
        };
    }
    match &table.role {
        TableRole::Users { .. } => format!("`aws dynamodb update-table --table-name {name} {stream}`"),
        TableRole::State => format!(
            "`aws dynamodb update-time-to-live --table-name {name} --time-to-live-specification \
             Enabled=true,AttributeName={TTL_ATTRIBUTE}`"
        ),
        TableRole::Ledger => String::new(),
    }
}

pub(super) async fn make(client: &Client, table: &Table) -> AwsResult<Option<String>> {
    if let TableRole::Users { .. } = table.role {
        return Err(AwsError::from_entry("CreateTable", &table.name, None, "this table is not tierd's to make"));
    }
    create(client, table).await?;
    wait_until_active(client, &table.name).await?;
    // After the table, since neither can be asked for with it. A program that dies in between leaves a table without:
    // `check` then says how to turn it on.
    match table.role {
        TableRole::State => turn_ttl_on(client, &table.name).await.map(|()| None),
        TableRole::Ledger => Ok(turn_recovery_on(client, &table.name).await.err().map(|error| {
            format!("point-in-time recovery could not be turned on: {error}; turn it on by hand, if you want it")
        })),
        TableRole::Users { .. } => Ok(None),
    }
}

/// Hash key first.
pub(super) fn keys(role: &TableRole) -> Vec<&str> {
    match role {
        TableRole::Users { key } => vec![key],
        TableRole::Ledger => vec!["bucket_name", "object_key"],
        TableRole::State => vec!["pk", "sk"],
    }
}

/// The keys as they are, hash key first, with their types: `pk (S)`.
fn keys_of(description: &TableDescription) -> Vec<String> {
    let mut schema: Vec<&KeySchemaElement> = description.key_schema().iter().collect();
    schema.sort_by_key(|element| element.key_type != KeyType::Hash);
    schema
        .into_iter()
        .map(|element| {
            let name = &element.attribute_name;
            let kind = description
                .attribute_definitions()
                .iter()
                .find(|attribute| attribute.attribute_name == *name)
                .map_or("?", |attribute| attribute.attribute_type.as_str());
            format!("{name} ({kind})")
        })
        .collect()
}

/// The stream that a table has now.
pub(super) async fn stream_arn(client: &Client, table: &str) -> AwsResult<Option<String>> {
    Ok(describe(client, table).await?.latest_stream_arn)
}

async fn describe(client: &Client, table: &str) -> AwsResult<TableDescription> {
    let answer =
        client.describe_table().table_name(table).send().await.map_err(|e| AwsError::new("DescribeTable", table, e))?;
    answer.table.ok_or_else(|| AwsError::from_entry("DescribeTable", table, None, "the answer describes no table"))
}

/// The attribute by which items are deleted, if that is on or being turned on.
async fn ttl(client: &Client, table: &str) -> AwsResult<Option<String>> {
    let answer = client
        .describe_time_to_live()
        .table_name(table)
        .send()
        .await
        .map_err(|e| AwsError::new("DescribeTimeToLive", table, e))?;
    Ok(answer.time_to_live_description.and_then(|ttl| {
        let on = matches!(ttl.time_to_live_status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling));
        ttl.attribute_name.filter(|_| on)
    }))
}

async fn create(client: &Client, table: &Table) -> AwsResult<()> {
    let mut request = client.create_table().table_name(&table.name).billing_mode(BillingMode::PayPerRequest);
    for (role, name) in [KeyType::Hash, KeyType::Range].into_iter().zip(keys(&table.role)) {
        let element = KeySchemaElement::builder().attribute_name(name).key_type(role).build();
        let attribute =
            AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
        request = request
            .key_schema(element.expect("name and role are given"))
            .attribute_definitions(attribute.expect("name and type are given"));
    }
    match request.send().await {
        Ok(_) => Ok(()),
        Err(e) => match AwsError::new("CreateTable", &table.name, e) {
            // Another program makes it, or has just made it.
            e if e.kind == Kind::Conflict => Ok(()),
            e => Err(e),
        },
    }
}

async fn wait_until_active(client: &Client, table: &str) -> AwsResult<()> {
    let deadline = tokio::time::Instant::now() + ACTIVE_WITHIN;
    loop {
        match describe(client, table).await {
            Ok(description) if description.table_status != Some(TableStatus::Creating) => return Ok(()),
            Ok(_) => {}
            // A table that was asked for a moment ago need not be known everywhere.
            Err(e) if e.kind == Kind::NotFound => {}
            Err(e) => return Err(e),
        }
        if tokio::time::Instant::now() >= deadline {
            let why = format!("the table is not active after {} s", ACTIVE_WITHIN.as_secs());
            return Err(AwsError::from_entry("CreateTable", table, None, why));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn turn_ttl_on(client: &Client, table: &str) -> AwsResult<()> {
    let specification = TimeToLiveSpecification::builder().enabled(true).attribute_name(TTL_ATTRIBUTE).build();
    let sent = client
        .update_time_to_live()
        .table_name(table)
        .time_to_live_specification(specification.expect("both fields are given"))
        .send()
        .await;
    let error = match sent {
        Ok(_) => return Ok(()),
        Err(e) => AwsError::new("UpdateTimeToLive", table, e),
    };
    // Refused where it is on already: another program was faster.
    if ttl(client, table).await?.as_deref() == Some(TTL_ATTRIBUTE) { Ok(()) } else { Err(error) }
}

async fn turn_recovery_on(client: &Client, table: &str) -> AwsResult<()> {
    let specification = PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true).build();
    let specification = specification.expect("the one field is given");
    let mut attempt = 1;
    loop {
        let sent = client
            .update_continuous_backups()
            .table_name(table)
            .point_in_time_recovery_specification(specification.clone())
            .send()
            .await;
        match sent {
            Ok(_) => return Ok(()),
            Err(e) => match AwsError::new("UpdateContinuousBackups", table, e) {
                e if e.is("ContinuousBackupsUnavailableException") && attempt < BACKUP_ATTEMPTS => {}
                e => return Err(e),
            },
        }
        attempt += 1;
        tokio::time::sleep(POLL * 4).await;
    }
}
