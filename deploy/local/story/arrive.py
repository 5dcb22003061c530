"""The first scenes: what tierd needs is made, users arrive, and their objects with them."""

import time

import screen
from cast import THINGS, USERS, upload
from world import EVENT_QUEUE, LOG_BUCKET, REGION, USERS_TABLE

BUCKET_TIMEOUT_SECS = 60


def what_was_there_before(look):
    """What a service has before it has tierd: its users table with a stream, and a trail that writes into a bucket."""
    look.dynamodb.create_table(
        TableName=USERS_TABLE,
        AttributeDefinitions=[{"AttributeName": "userId", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "userId", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    look.s3.create_bucket(Bucket=LOG_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    screen.say(f"table {USERS_TABLE} with a stream, bucket {LOG_BUCKET} for CloudTrail")


def init(world, verdict):
    screen.heading("tierd init")
    before = world.tierd("check")
    verdict.equal("before init, check says that something is missing (exit 69)", before.code, 69)
    made = world.tierd("init")
    for line in made.stdout.strip().splitlines():
        screen.note(line)
    if not verdict.equal("init makes what is missing (exit 0)", made.code, 0):
        screen.note(made.stderr.strip())
    verdict.equal("a second init has nothing to complain of (exit 0)", world.tierd("init").code, 0)
    after = world.tierd("check")
    if not verdict.equal("now check finds everything (exit 0)", after.code, 0):
        screen.note(after.stdout.strip()[-2000:])
        screen.note(after.stderr.strip()[-2000:])


def users(world, look, verdict):
    screen.heading("tierd run: new users get their buckets")
    world.start_daemon()
    screen.say(f"tierd run is process {world.daemon.pid}; its log is {world.log}")
    put_at, latency = {}, {}
    for user in USERS:
        look.dynamodb.put_item(TableName=USERS_TABLE, Item={"userId": {"S": user}, "plan": {"S": "free"}})
        put_at[user] = time.monotonic()
    screen.say(f"{len(USERS)} rows are put into the users table")

    def all_have_buckets():
        world.daemon_must_run()
        for user in USERS:
            if user not in latency:
                uri = look.user(user).get("s3_bucket_uri", {}).get("S", "")
                if uri:
                    latency[user] = time.monotonic() - put_at[user]
                    look.buckets[user] = uri.removeprefix("s3://")
        return len(latency) == len(USERS)

    screen.wait_for("the buckets", BUCKET_TIMEOUT_SECS, all_have_buckets, every=0.1)
    screen.table(
        ["user", "bucket", ">after"],
        [
            (user, look.buckets.get(user, "none"), f"{latency[user]:.1f} s" if user in latency else "-")
            for user in USERS
        ],
    )
    verdict.equal("every user has a bucket", sorted(look.buckets), sorted(USERS))
    verdict.equal("no two users share one", len(set(look.buckets.values())), len(look.buckets))
    expected = {
        bucket: {
            "user": user,
            "public access blocked": True,
            "CORS methods": ["GET", "HEAD", "POST"],
            "restore events to": [EVENT_QUEUE],
        }
        for user, bucket in look.buckets.items()
    }
    found = {bucket: look.bucket_settings(bucket) for bucket in look.buckets.values()}
    verdict.same_mapping("tagged with the user, closed to the public, with CORS and restore events", found, expected)
    return len(look.buckets) == len(USERS)


def objects(look, verdict):
    screen.heading("the users keep things in them")
    for thing in THINGS:
        upload(look.s3, look.buckets[thing.user], thing)
    seen = look.things()
    screen.table(
        ["user", "key", ">size", "class", "ETag", "what is special"],
        [
            (thing.user[:13], thing.key, screen.size(now.size), now.storage_class, short(now.etag), special(thing))
            for thing, now in seen.items()
        ],
    )
    lost = look.lost(seen)
    verdict.check(not lost, "they are there as they were put", "; ".join(lost))


def short(etag):
    """The start of an ETag, and the number of parts if it tells one."""
    digest, _, parts = etag.partition("-")
    return f"{digest[:8]}…" + (f"-{parts}" if parts else "")


def special(thing):
    said = []
    if thing.multipart:
        said.append("multipart")
    if thing.kms_key:
        said.append("KMS key")
    if thing.tags:
        said.append(f"tags: {len(thing.tags)}")
    if thing.metadata:
        said.append(f"metadata: {len(thing.metadata)}")
    if thing.cache_control:
        said.append(thing.cache_control)
    return ", ".join(said)
