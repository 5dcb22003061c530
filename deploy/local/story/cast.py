"""Who is in the story: the users, and the objects that they keep."""

import hashlib
import random
from dataclasses import dataclass, field
from urllib.parse import urlencode

from world import ACCOUNT, REGION

KIB = 1024
MIB = 1024 * 1024
PART = 5 * MIB
KMS_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/7c3f1a52-0b6e-4a51-9f0e-2d8a4c1b6e90"

USERS = ["minji", "User.Upper_42", "준호", "7f3c9a54-1de2-4b8f-a0c6-5e21d94b7a03", "ops+night@example.com"]
MINJI, UPPER, JUNHO, UUID, OPS = USERS


@dataclass(frozen=True, eq=False)
class Thing:
    """One object, as it is uploaded, and how long ago and how often the logs say it was used."""

    user: str
    key: str
    size: int
    last_used_days: int
    uses: int
    storage_class: str = "STANDARD"
    content_type: str = "application/octet-stream"
    cache_control: str = ""
    metadata: dict = field(default_factory=dict)
    tags: dict = field(default_factory=dict)
    kms_key: str = ""
    multipart: bool = False

    def body(self):
        """Bytes that depend on the key, so that no two objects can be taken for each other."""
        return random.Random(f"{self.user}/{self.key}").randbytes(self.size)

    def digest(self):
        return hashlib.sha256(self.body()).hexdigest()


# In each bucket the number of objects is even, so that half of them is a whole number.
THINGS = [
    Thing(MINJI, "사진/여름 바다.jpg", 3 * MIB // 2, 10, 1, content_type="image/jpeg", cache_control="max-age=86400"),
    Thing(
        MINJI,
        "report+draft 100%.pdf",
        2 * MIB,
        45,
        6,
        content_type="application/pdf",
        metadata={"reviewed-by": "minji", "draft": "3"},
        tags={"project": "alpha + beta", "kind": "report"},
    ),
    Thing(
        MINJI,
        "video/홈 비디오 #1.mp4",
        2 * PART,
        120,
        1,
        content_type="video/mp4",
        metadata={"camera": "x100"},
        tags={"album": "family"},
        multipart=True,
    ),
    Thing(MINJI, "notes/small.txt", 4 * KIB, 120, 3, content_type="text/plain; charset=utf-8"),
    Thing(UPPER, "secret/plan.bin", 3 * MIB, 45, 6, kms_key=KMS_KEY, tags={"secret": "yes"}),
    Thing(UPPER, "a+b=c & d;e.bin", 2 * MIB, 120, 1, metadata={"odd": "key"}),
    Thing(UPPER, "empty", 0, 120, 4),
    Thing(UPPER, "thumbs//200%.webp", 200 * KIB, 0, 3, content_type="image/webp", cache_control="no-cache"),
    Thing(
        JUNHO,
        "백업/2026 결산+최종 50%.tar",
        6 * MIB,
        120,
        1,
        storage_class="GLACIER",
        content_type="application/x-tar",
        metadata={"year": "2026"},
        tags={"owner": "junho", "retain": "7 years"},
    ),
    Thing(JUNHO, "백업/원본 (1).bin", MIB, 120, 1, storage_class="GLACIER"),
    Thing(JUNHO, "문서/계약서 (서명).pdf", 2 * MIB, 45, 3, content_type="application/pdf"),
    Thing(JUNHO, "메모.txt", 200, 10, 2, content_type="text/plain; charset=utf-8"),
    Thing(UUID, "data/part-0000.parquet", 2 * MIB, 45, 3),
    Thing(UUID, "data/part-0001.parquet", 2 * MIB, 10, 4),
]

# Used in the logs and deleted since: it must leave no row behind.
GHOST = (UUID, "data/part-0002.parquet")

# Both are in GLACIER when they are asked for: one was put there by its owner, one by the policy.
ASKED_BY_QUEUE = next(thing for thing in THINGS if thing.key.startswith("백업/2026"))
ASKED_BY_CLI = next(thing for thing in THINGS if thing.multipart)
# Nobody asks for this one in the story.
STILL_ARCHIVED = next(thing for thing in THINGS if thing.key.startswith("백업/원본"))


def upload(s3, bucket, thing):
    options = {"ContentType": thing.content_type, "StorageClass": thing.storage_class, "Metadata": thing.metadata}
    if thing.cache_control:
        options["CacheControl"] = thing.cache_control
    if thing.tags:
        options["Tagging"] = urlencode(thing.tags)
    if thing.kms_key:
        options |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": thing.kms_key, "BucketKeyEnabled": True}
    where = {"Bucket": bucket, "Key": thing.key}
    body = thing.body()
    if not thing.multipart:
        s3.put_object(**where, Body=body, **options)
        return
    upload_id = s3.create_multipart_upload(**where, **options)["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(body), PART), 1):
        part = s3.upload_part(**where, UploadId=upload_id, PartNumber=number, Body=body[start : start + PART])
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(**where, UploadId=upload_id, MultipartUpload={"Parts": parts})
