//! The users table: whose rows are users, and where the URI of each user's bucket is written, once.
//!
//! The table belongs to somebody else. tierd reads keys and URIs, never the rest of a row, and writes one attribute, under a
//! condition that neither brings back a deleted row nor changes a URI that stands there.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};

use crate::aws::{AwsError, AwsResult, Kind};
use crate::config::Settings;
use crate::tiering::object::{BucketName, UserId};

type Row = HashMap<String, AttributeValue>;

/// A handle on the users table; cheap to clone.
#[derive(Debug, Clone)]
pub struct Users {
    client: aws_sdk_dynamodb::Client,
    table: String,
    key: String,
    uri_attribute: String,
}

/// What tierd sees of a user's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    pub id: UserId,
    /// As it stands there, checked by nobody; what is no string is shown as text that is no URI. None: no bucket yet.
    pub uri: Option<String>,
}

/// What became of the write of a URI.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum UriWrite {
    Written,
    /// The row was deleted meanwhile; it was not brought back.
    RowGone,
    /// The row has a URI already, which was left as it is.
    Standing(String),
}

/// The stream of the users table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableStream {
    On {
        arn: String,
    },
    /// Nobody would hear of new users.
    Off,
}

/// A page of a scan of the table.
#[derive(Debug, Default)]
pub struct UsersPage {
    pub rows: Vec<UserRow>,
    /// Rows whose key is no user id, in words.
    pub rejected: Vec<String>,
}

/// A scan under way. Each [`UsersPager::next_page`] is one request.
#[derive(Debug)]
pub struct UsersPager<'a> {
    users: &'a Users,
    start: Option<Row>,
    done: bool,
}

impl Users {
    pub fn new(client: aws_sdk_dynamodb::Client, settings: &Settings) -> Self {
        let users = &settings.users;
        Self { client, table: users.table.clone(), key: users.key.clone(), uri_attribute: users.uri_attribute.clone() }
    }

    pub fn table(&self) -> &str {
        &self.table
    }

    /// The name of the key attribute.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The name of the attribute that takes the URI.
    pub fn uri_attribute(&self) -> &str {
        &self.uri_attribute
    }

    /// The table's latest stream.
    pub async fn stream(&self) -> AwsResult<TableStream> {
        let answer = self
            .client
            .describe_table()
            .table_name(&self.table)
            .send()
            .await
            .map_err(|e| AwsError::new("DescribeTable", &self.table, e))?;
        // A stream that was switched off keeps its ARN for a day.
        let on = |t: &aws_sdk_dynamodb::types::TableDescription| {
            t.stream_specification.as_ref().is_some_and(|stream| stream.stream_enabled)
        };
        let arn = answer.table.filter(on).and_then(|table| table.latest_stream_arn);
        Ok(arn.map_or(TableStream::Off, |arn| TableStream::On { arn }))
    }

    /// One user's row, read consistently. None: there is no such row.
    pub async fn row(&self, user: &UserId) -> AwsResult<Option<UserRow>> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(&self.key, AttributeValue::S(user.as_str().to_owned()))
            .projection_expression("#key, #uri")
            .expression_attribute_names("#key", &self.key)
            .expression_attribute_names("#uri", &self.uri_attribute)
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| AwsError::new("GetItem", self.subject(user), e))?;
        Ok(answer.item.map(|row| UserRow { id: user.clone(), uri: self.uri_of(&row) }))
    }

    /// Writes a user's URI, if the row is there and has none.
    pub async fn write_uri(&self, user: &UserId, bucket: &BucketName) -> AwsResult<UriWrite> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(&self.key, AttributeValue::S(user.as_str().to_owned()))
            .update_expression("SET #uri = :uri")
            // Without the first half a row that was deleted meanwhile would come back, empty but for this attribute.
            .condition_expression(
                "attribute_exists(#key) AND (attribute_not_exists(#uri) OR attribute_type(#uri, :null) OR #uri = :empty)",
            )
            .expression_attribute_names("#key", &self.key)
            .expression_attribute_names("#uri", &self.uri_attribute)
            .expression_attribute_values(":uri", AttributeValue::S(bucket.to_uri()))
            .expression_attribute_values(":null", AttributeValue::S("NULL".to_owned()))
            .expression_attribute_values(":empty", AttributeValue::S(String::new()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = answer else { return Ok(UriWrite::Written) };
        match AwsError::new("UpdateItem", self.subject(user), error) {
            // Read anew rather than from the refusal: some servers leave the old row out of it.
            e if e.kind == Kind::Precondition => Ok(match self.row(user).await? {
                None => UriWrite::RowGone,
                Some(UserRow { uri: Some(uri), .. }) => UriWrite::Standing(uri),
                // Deleted and made anew between the two calls: its own record is on its way.
                Some(UserRow { uri: None, .. }) => UriWrite::RowGone,
            }),
            e => Err(e),
        }
    }

    /// Every bucket that a user has. A URI that names no bucket is reported and passed over.
    pub async fn buckets(&self) -> AwsResult<BTreeSet<BucketName>> {
        let mut buckets = BTreeSet::new();
        let mut pages = self.rows();
        while let Some(page) = pages.next_page().await? {
            for row in page.rows {
                let Some(uri) = row.uri else { continue };
                match BucketName::from_uri(&uri) {
                    Ok(bucket) => {
                        buckets.insert(bucket);
                    }
                    Err(error) => {
                        tracing::warn!(event = "user.uri_rejected", user_id = %row.id, %error, "a user's URI names no bucket");
                    }
                }
            }
        }
        Ok(buckets)
    }

    /// All rows, read consistently, a page (at most 1 MB) at a time. Reads the whole table once.
    pub fn rows(&self) -> UsersPager<'_> {
        UsersPager { users: self, start: None, done: false }
    }

    fn subject(&self, user: &UserId) -> String {
        format!("{}/{:?}", self.table, user.as_str())
    }

    /// Programs that write whole records write null, or an empty text, where there is no bucket yet.
    fn uri_of(&self, row: &Row) -> Option<String> {
        match row.get(&self.uri_attribute)? {
            AttributeValue::Null(_) => None,
            AttributeValue::S(uri) if uri.is_empty() => None,
            AttributeValue::S(uri) => Some(uri.clone()),
            other => Some(format!("{other:?}")),
        }
    }
}

impl UsersPager<'_> {
    /// The next page; None after the last one.
    pub async fn next_page(&mut self) -> AwsResult<Option<UsersPage>> {
        if self.done {
            return Ok(None);
        }
        let Users { client, table, key, uri_attribute } = self.users;
        let answer = client
            .scan()
            .table_name(table)
            .projection_expression("#key, #uri")
            .expression_attribute_names("#key", key)
            .expression_attribute_names("#uri", uri_attribute)
            // A sweep makes up for lost stream records; rows that it does not see would be lost for good.
            .consistent_read(true)
            .set_exclusive_start_key(self.start.take())
            .send()
            .await
            .map_err(|e| AwsError::new("Scan", table, e))?;
        self.start = answer.last_evaluated_key.filter(|k| !k.is_empty());
        self.done = self.start.is_none();
        let mut page = UsersPage::default();
        for row in answer.items.unwrap_or_default() {
            let id = row.get(key).and_then(|v| v.as_s().ok()).and_then(|id| UserId::new(id.as_str()).ok());
            match id {
                Some(id) => page.rows.push(UserRow { uri: self.users.uri_of(&row), id }),
                None => page.rejected.push(format!(
                    "{table}: a row's key {key:?} is no user id (a string that is not empty): {:?}",
                    row.get(key)
                )),
            }
        }
        Ok(Some(page))
    }
}
