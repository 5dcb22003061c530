"""The story's CloudTrail: what the users did, as log files that CloudTrail would have delivered, and beside them a
model of what must come out. The model is kept while the events are made up; nothing is parsed to get it."""

import gzip
import json
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from cast import GHOST, MINJI, OPS, THINGS, UPPER, UUID
from world import ACCOUNT, LOG_BUCKET, REGION

SECOND_ACCOUNT = "210987654321"
SECOND_REGION = "us-east-1"
# CloudTrail publishes a file some minutes after the events in it.
PUBLISHED_AFTER = timedelta(minutes=7)


def rfc3339(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Use:
    """What the ledger must say of one object."""

    count: int = 0
    event_time: str = ""


@dataclass
class Model:
    uses: dict = field(default_factory=dict)
    files: int = 0
    records: int = 0
    accesses: int = 0
    duplicates: int = 0

    def count(self, bucket, key, moment):
        use = self.uses.setdefault((bucket, key), Use())
        use.count += 1
        use.event_time = max(use.event_time, rfc3339(moment))
        self.accesses += 1


class Trail:
    def __init__(self, buckets, daemon_arn):
        """`buckets` are those of the users by user; `daemon_arn` is who the daemon is to AWS."""
        self.buckets = buckets
        self.daemon_arn = daemon_arn
        self.now = datetime.now(timezone.utc).replace(microsecond=0)
        self.random = random.Random(20)
        self.model = Model()
        self.bodies = {}
        self.notes = []

    # Making records.

    def token(self, length):
        return "".join(self.random.choices("0123456789abcdef", k=length))

    def event_id(self):
        return "-".join(self.token(length) for length in (8, 4, 4, 4, 12))

    def record(self, name, bucket, moment, key=None, account=ACCOUNT, region=REGION, arn=None, **more):
        parameters = {"bucketName": bucket, "Host": f"{bucket}.s3.{region}.amazonaws.com"}
        if key is not None:
            parameters["key"] = key
        parameters |= more.pop("parameters", {})
        arn = arn or f"arn:aws:iam::{account}:user/web-front-end"
        made = {
            "eventVersion": "1.11",
            "userIdentity": {"type": "IAMUser", "principalId": "AIDAEXAMPLE", "arn": arn, "accountId": account},
            "eventTime": rfc3339(moment),
            "eventSource": "s3.amazonaws.com",
            "eventName": name,
            "awsRegion": region,
            "sourceIPAddress": "203.0.113.7",
            "userAgent": "[aws-sdk-js/3.600.0]",
            "requestParameters": parameters,
            "responseElements": None,
            "additionalEventData": {"SignatureVersion": "SigV4", "bytesTransferredIn": 0, "bytesTransferredOut": 512},
            "requestID": self.token(16).upper(),
            "eventID": self.event_id(),
            "readOnly": name != "PutObject",
            "resources": [{"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::{bucket}/{key or ''}"}],
            "eventType": "AwsApiCall",
            "managementEvent": False,
            "recipientAccountId": account,
            "eventCategory": "Data",
        }
        made.update(more)
        return made

    def upload(self, bucket, key, moment, **more):
        """Counts."""
        self.model.count(bucket, key, moment)
        return self.record("PutObject", bucket, moment, key, **more)

    def download(self, bucket, key, moment, **more):
        """A user's download through the web front end: counts."""
        self.model.count(bucket, key, moment)
        name = key.rsplit("/", 1)[-1]
        disposition = {"response-content-disposition": f'attachment; filename="{name}"', "X-Amz-Expires": "3600"}
        return self.record("GetObject", bucket, moment, key, parameters=disposition, **more)

    # Making files.

    def deliver(self, records, account=ACCOUNT, region=REGION, pack=None):
        """Files records under the day on which CloudTrail would have published them. Returns the key."""
        published = max(datetime.strptime(r["eventTime"], "%Y-%m-%dT%H:%M:%SZ") for r in records) + PUBLISHED_AFTER
        key = self.file_key(account, region, published)
        text = json.dumps({"Records": records}, ensure_ascii=False, separators=(",", ":")).encode()
        self.bodies[key] = (pack or gzip.compress)(text)
        self.model.files += 1
        self.model.records += len(records)
        return key

    def file_key(self, account, region, published, service="CloudTrail"):
        name = f"{account}_{service}_{region}_{published:%Y%m%dT%H%MZ}_{self.token(16).upper()}.json.gz"
        return f"AWSLogs/{account}/{service}/{region}/{published:%Y/%m/%d}/{name}"

    def write(self):
        """Everything that happened."""
        self.uses_of_things()
        self.what_does_not_count()
        self.twice()
        self.unreadable()
        self.beside_the_logs()

    def uses_of_things(self):
        """An upload and downloads of every object, the last of them as long ago as the cast says, in a file a day."""
        days = {}
        for thing in THINGS:
            bucket = self.buckets[thing.user]
            last = self.now - timedelta(days=thing.last_used_days, hours=2)
            for nth in range(thing.uses):
                moment = last - timedelta(hours=11 * nth, minutes=nth)
                first = nth == thing.uses - 1
                record = (self.upload if first else self.download)(bucket, thing.key, moment)
                days.setdefault(moment.date(), []).append(record)
        ghost = self.now - timedelta(days=60)
        days.setdefault(ghost.date(), []).append(self.upload(self.buckets[GHOST[0]], GHOST[1], ghost))
        for number, day in enumerate(sorted(days)):
            records = days[day]
            # CloudTrail orders nothing.
            self.random.shuffle(records)
            if number == 0:
                self.deliver(records, pack=two_members)
                self.notes.append("the oldest file is two gzip members one after the other")
            else:
                self.deliver(records)

    def what_does_not_count(self):
        """Records of every kind that is normal in CloudTrail and is nobody's use of an object."""
        thing = next(thing for thing in THINGS if thing.user == UPPER)
        bucket, moment = self.buckets[thing.user], self.now - timedelta(days=3)
        front_end = {"response-content-disposition": "attachment"}
        none = self.record("GetObject", bucket, moment, thing.key)
        none["requestParameters"] = None
        missing = self.record("GetObject", bucket, moment, thing.key)
        del missing["requestParameters"]
        silent = [
            self.record("GetObject", bucket, moment, thing.key),
            self.record("HeadObject", bucket, moment, thing.key),
            self.record("ListObjects", bucket, moment, parameters={"prefix": "", "max-keys": "1000"}),
            self.record("ListObjects", self.buckets[OPS], moment),
            self.record(
                "GetObject",
                bucket,
                moment,
                "no such key",
                parameters=front_end,
                errorCode="NoSuchKey",
                errorMessage="…",
            ),
            self.record("PutObject", bucket, moment, thing.key, errorCode="AccessDenied", errorMessage="Access Denied"),
            none,
            missing,
            self.record("PutObject", bucket, moment, thing.key, arn=self.daemon_arn),
            self.record("PutObject", "another-teams-bucket", moment, "not/ours.bin"),
        ]
        self.deliver(silent)
        # The same in a second region, with one use among them.
        use = self.upload(bucket, thing.key, moment - timedelta(days=50), region=SECOND_REGION)
        self.deliver([silent_again(silent[2], self.event_id()), use], region=SECOND_REGION)

    def twice(self):
        """One event in two files, and one access that two accounts' trails tell of."""
        bucket = self.buckets[MINJI]
        thing = next(thing for thing in THINGS if thing.user == MINJI)
        moment = self.now - timedelta(days=20)
        again = self.download(bucket, thing.key, moment)
        other = self.record("HeadObject", bucket, moment, thing.key)
        self.deliver([again, other])
        self.deliver([silent_again(other, self.event_id()), again])
        thing = next(thing for thing in THINGS if thing.user == UUID)
        bucket, moment = self.buckets[thing.user], self.now - timedelta(days=70)
        shared = self.event_id()
        mine = self.download(bucket, thing.key, moment, sharedEventID=shared)
        theirs = silent_again(mine, self.event_id()) | {"recipientAccountId": SECOND_ACCOUNT}
        self.deliver([mine])
        self.deliver([theirs], account=SECOND_ACCOUNT)
        self.model.duplicates += 2
        self.notes.append("one event is in two files, and one access in the trails of two accounts")

    def unreadable(self):
        """A file that was cut off. It counts nothing, not even its readable part."""
        thing = THINGS[0]
        moment = self.now - timedelta(days=5)
        records = [
            self.record("PutObject", self.buckets[thing.user], moment, f"lost/{number}.bin") for number in range(40)
        ]
        whole = gzip.compress(json.dumps({"Records": records}).encode())
        self.truncated = self.file_key(ACCOUNT, REGION, moment + PUBLISHED_AFTER)
        self.bodies[self.truncated] = whole[: len(whole) * 2 // 3]
        self.notes.append("one file is cut off in the middle")

    def beside_the_logs(self):
        """CloudTrail's digests stand beside its logs, and are none."""
        moment = self.now - timedelta(days=1)
        digest = {"digestS3Bucket": LOG_BUCKET, "previousDigestSignature": None, "logFiles": []}
        key = self.file_key(ACCOUNT, REGION, moment, "CloudTrail-Digest")
        self.bodies[key] = gzip.compress(json.dumps(digest).encode())

    def put(self, s3):
        for key, body in self.bodies.items():
            s3.put_object(Bucket=LOG_BUCKET, Key=key, Body=body, ContentType="application/json", ContentEncoding="gzip")


def silent_again(record, event_id):
    """The same call told by another event."""
    return record | {"eventID": event_id}


def two_members(text):
    half = len(text) // 2
    return gzip.compress(text[:half]) + gzip.compress(text[half:])
