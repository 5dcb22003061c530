"""What AWS says now: everything that the story prints or checks is read back through here."""

import hashlib
from dataclasses import dataclass

from botocore.exceptions import ClientError

from cast import THINGS
from world import LEDGER_TABLE, USERS_TABLE

ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")


@dataclass
class Seen:
    """One object as S3 shows it."""

    storage_class: str
    etag: str
    size: int
    restore: str
    fidelity: dict


class Look:
    def __init__(self, world):
        self.s3 = world.client("s3")
        self.dynamodb = world.client("dynamodb")
        self.sqs = world.client("sqs")
        self.sts = world.client("sts")
        self.buckets = {}

    def user(self, user):
        return self.dynamodb.get_item(TableName=USERS_TABLE, Key={"userId": {"S": user}}, ConsistentRead=True).get(
            "Item"
        )

    def ledger(self):
        """All rows, by (bucket, key), with plain values."""
        rows = {}
        for page in self.dynamodb.get_paginator("scan").paginate(TableName=LEDGER_TABLE, ConsistentRead=True):
            for item in page["Items"]:
                row = {name: int(value["N"]) if "N" in value else value.get("S") for name, value in item.items()}
                rows[row["bucket_name"], row["object_key"]] = row
        return rows

    def tags(self, bucket, key):
        return {tag["Key"]: tag["Value"] for tag in self.s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}

    def head(self, thing):
        return self.s3.head_object(Bucket=self.buckets[thing.user], Key=thing.key)

    def thing(self, thing):
        bucket = self.buckets[thing.user]
        head = self.head(thing)
        storage_class = head.get("StorageClass", "STANDARD")
        fidelity = {
            "content type": head.get("ContentType"),
            "cache control": head.get("CacheControl", ""),
            "metadata": head.get("Metadata", {}),
            "KMS key": head.get("SSEKMSKeyId", ""),
            "bucket key": head.get("BucketKeyEnabled", False),
            "size": head["ContentLength"],
            "tags": self.tags(bucket, thing.key),
        }
        if storage_class not in ARCHIVES:
            body = self.s3.get_object(Bucket=bucket, Key=thing.key)["Body"].read()
            fidelity["bytes"] = hashlib.sha256(body).hexdigest()
        return Seen(storage_class, head["ETag"].strip('"'), head["ContentLength"], head.get("Restore", ""), fidelity)

    def things(self):
        return {thing: self.thing(thing) for thing in THINGS}

    def classes(self):
        return {thing: self.head(thing).get("StorageClass", "STANDARD") for thing in THINGS}

    def bucket_settings(self, bucket):
        """What provisioning promises of a bucket; an empty value where a setting is missing."""

        def ask(call, name, missing):
            try:
                return call(Bucket=bucket).get(name, missing)
            except ClientError:
                return missing

        tags = ask(self.s3.get_bucket_tagging, "TagSet", [])
        block = ask(self.s3.get_public_access_block, "PublicAccessBlockConfiguration", {})
        cors = ask(self.s3.get_bucket_cors, "CORSRules", [])
        queues = ask(self.s3.get_bucket_notification_configuration, "QueueConfigurations", [])
        return {
            "user": {tag["Key"]: tag["Value"] for tag in tags}.get("tierd:user-id"),
            "public access blocked": len(block) == 4 and all(block.values()),
            "CORS methods": sorted({method for rule in cors for method in rule["AllowedMethods"]}),
            "restore events to": [
                queue["QueueArn"].rsplit(":", 1)[-1]
                for queue in queues
                if any(event.startswith("s3:ObjectRestore:") for event in queue["Events"])
            ],
        }

    def expected_fidelity(self, thing):
        """What an object must still be after any move."""
        return {
            "content type": thing.content_type,
            "cache control": thing.cache_control,
            "metadata": thing.metadata,
            "KMS key": thing.kms_key,
            "bucket key": bool(thing.kms_key),
            "size": thing.size,
            "tags": thing.tags,
            "bytes": thing.digest(),
        }

    def lost(self, seen):
        """What is not as its owner left it, in words; nothing, if all is well."""
        words = []
        for thing, now in seen.items():
            expected = self.expected_fidelity(thing)
            for name, found in now.fidelity.items():
                if found != expected[name]:
                    words.append(f"{thing.key}: {name} was {expected[name]!r}, is {found!r}")
        return words
