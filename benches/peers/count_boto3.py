"""Counts accesses as a scheduled function usually does: record by record, each with a HEAD of the object for its ETag, a read of
its row and a write of the row.

Arguments: the log bucket, the table. The endpoint and credentials come from the environment. Prints how many accesses there
were, of how many objects.
"""

import gzip
import json
import sys

import boto3


def main(log_bucket, table_name):
    s3, table = boto3.client("s3"), boto3.resource("dynamodb").Table(table_name)
    accesses, objects = 0, set()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=log_bucket, Prefix="AWSLogs/"):
        for listed in page.get("Contents", []):
            body = s3.get_object(Bucket=log_bucket, Key=listed["Key"])["Body"].read()
            for record in json.loads(gzip.decompress(body))["Records"]:
                request = record.get("requestParameters") or {}
                event, bucket, key = record["eventName"], request.get("bucketName", ""), request.get("key")
                is_download = event == "GetObject" and "response-content-disposition" in request
                if not (event == "PutObject" or is_download) or record.get("errorCode") or not bucket.startswith("siuu"):
                    continue
                count(s3, table, bucket, key, record["eventTime"])
                accesses += 1
                objects.add((bucket, key))
    print(accesses, len(objects))


def count(s3, table, bucket, key, time):
    head = s3.head_object(Bucket=bucket, Key=key)
    row_key = {"entity_tag_value": head["ETag"].strip('"')}
    before = table.get_item(Key=row_key).get("Item", {})
    table.update_item(
        Key=row_key,
        UpdateExpression="SET #count = :count, event_time = :time",
        ExpressionAttributeNames={"#count": "count"},
        ExpressionAttributeValues={":count": before.get("count", 0) + 1, ":time": max(time, before.get("event_time", ""))},
    )


main(*sys.argv[1:])
